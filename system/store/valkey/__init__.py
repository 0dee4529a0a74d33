"""What is kept in a region's Valkey: the state of its consumers, the feeds that they write, the cached totals."""
