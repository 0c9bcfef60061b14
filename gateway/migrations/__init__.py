"""Alembic migrations, oldest first by their revision."""
