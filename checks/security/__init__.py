"""The protection of the running system, tried from outside: each attempt is a fact of a security row."""
