"""What breaks the system: each fault with its undo, its proof and its choice of target."""
