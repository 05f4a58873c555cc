"""Projects that ship with headrace."""
