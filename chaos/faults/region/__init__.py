"""The loss of a whole region, and the way back."""
