"""Where the system runs: topology, parts, fabrics."""
