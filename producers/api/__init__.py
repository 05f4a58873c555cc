"""The API source: what is asked for, page by page, and how far it has been."""
