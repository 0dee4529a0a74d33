"""One system's place: its folder, secrets, certificates, bus layout and users."""
