"""One database behind one small class, on SQLite and PostgreSQL alike."""
