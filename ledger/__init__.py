"""What was acknowledged, and where it is found: every write is looked for at every hop."""
