"""XML: records at a path."""
