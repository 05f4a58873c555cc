"""Archives: their members, one by one and within limits, as deliveries."""
