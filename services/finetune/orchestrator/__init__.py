"""Takes jobs from the database and has them worked on; any number of orchestrators may share one."""
