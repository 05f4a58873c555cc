"""headrace: files, API polls and webhooks into typed, aggregated lake tables, every record once."""
