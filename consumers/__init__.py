"""Topic to bronze: micro-batches of events, each one commit that says how far it has read."""
