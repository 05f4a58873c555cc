"""The real parts that tests run against: starting, waiting for, and stopping them."""
