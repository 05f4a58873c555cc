"""Webhooks: calls made durable before they are answered, then taken in like all that arrives."""
