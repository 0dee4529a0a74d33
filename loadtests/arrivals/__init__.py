"""When operations are meant to begin: schedules, profiles and the pacer that keeps them."""
