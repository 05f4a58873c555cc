"""Headrace with its processes, its broker and its store failing at random; what is left then."""
