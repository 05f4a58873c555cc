"""Each delivery's bytes as they came."""
