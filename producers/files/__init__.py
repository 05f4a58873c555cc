"""The file source: which files are there, and the records in them."""
