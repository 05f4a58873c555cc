"""Where each delivery stands."""
