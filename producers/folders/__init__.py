"""Watched folders: what stands in them, what is complete, what becomes of it afterwards."""
