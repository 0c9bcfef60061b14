"""Checkpoints of jobs: their scores and order in the database, their files in the job's folder."""
