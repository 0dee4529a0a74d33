"""The process fabric: every part a process of this machine, without root and without Docker."""
