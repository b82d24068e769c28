"""Events on a Kafka topic."""
