"""One experiment's run: found, started, measured, and waited for until the system is calm again."""
