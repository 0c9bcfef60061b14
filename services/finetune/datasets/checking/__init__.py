"""The check of a data set: from files to a report and the files that are used; knows no database."""
