"""What every consumer is built from: the loop, its positions, its effects and what it puts aside."""
