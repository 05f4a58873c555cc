"""Hostile input for the parsers of what strangers send; `make fuzz` runs it."""
