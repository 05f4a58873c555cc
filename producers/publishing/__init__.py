"""From the spool onto topics, until all of a delivery has landed."""
