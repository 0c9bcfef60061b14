"""Day two: what is no longer needed goes, what is needed is kept elsewhere too."""
