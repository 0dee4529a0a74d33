"""What an operator does to a running system: promote a region, rotate certificates, restore from backups."""
