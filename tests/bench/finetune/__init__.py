"""Persons in several views, and how fine-tunes of them are measured."""
