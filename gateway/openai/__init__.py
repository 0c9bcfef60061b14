"""The door for clients of OpenAI's HTTP API, under ``/v1``."""
