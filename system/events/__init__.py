"""Events on NATS JetStream: the streams, the relay that publishes the outbox, the consumers."""
