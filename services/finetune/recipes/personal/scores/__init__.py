"""What is measured of a personal fine-tune's candidates."""
