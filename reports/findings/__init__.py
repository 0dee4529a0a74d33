"""What the evidence says, before anything is judged."""
