"""A stream's contract, proposed from its files."""
