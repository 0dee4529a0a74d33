"""One system on this machine: its folder, ports, secrets, certificates, bus layout and users."""
