"""Who may do what: signing in, access, what was refused."""
