"""Dagster over a project: its tables as assets, and when they are brought up to date."""
