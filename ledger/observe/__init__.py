"""What an observer sees of a running system: bus, consumers, positions, roll-ups."""
