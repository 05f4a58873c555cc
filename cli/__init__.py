"""The command line: parses, calls, composes."""
