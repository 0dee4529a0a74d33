"""Events on NATS JetStream: the streams, the relay from the outbox, the consumers."""
