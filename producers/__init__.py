"""Source to topic: deliveries made durable, identified, read and published."""
