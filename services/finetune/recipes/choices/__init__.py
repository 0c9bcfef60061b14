"""What can be chosen of recipes that are one file; read without what they are made of."""
