"""A run's documents, written into its folder."""
