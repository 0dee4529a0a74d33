"""The audit trail: its entries in PostgreSQL, its files in S3, and the refused requests that become entries."""
