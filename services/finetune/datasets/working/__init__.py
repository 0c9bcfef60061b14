"""The work on data sets: who does it, import, check, keeping, tidying up."""
