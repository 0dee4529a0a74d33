"""PostgreSQL: the schema, finding the primary and the region's replica, and all SQL of the system."""
