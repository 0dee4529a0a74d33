"""What a run is made of: its session, its steps, and the search for a knee."""
