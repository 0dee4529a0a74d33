"""Break the system on purpose, prove that it broke, heal it, and find out what that cost its clients."""
