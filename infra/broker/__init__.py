"""The embedded broker: one durable Kafka node for a laptop."""
