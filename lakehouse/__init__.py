"""The lake: Delta tables, contracts, silver, gold, queries and their proof."""
