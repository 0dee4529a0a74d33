"""Storage: connections to PostgreSQL, its schema and all SQL of the system; what a region's Valkey holds; the audit
trail's files in S3."""
