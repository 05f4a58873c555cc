"""Watched prefixes of object stores."""
