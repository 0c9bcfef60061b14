"""What the fine-tune service remembers: SQLite on one machine, PostgreSQL where several share it."""
