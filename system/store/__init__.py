"""What is stored: PostgreSQL (schema, finding the primary and the region's replica, all SQL of the system) and
the region's cache in Valkey."""
