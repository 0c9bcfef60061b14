"""A copy of the platform elsewhere: databases, models, data sets, files; checked whole before it is used."""
