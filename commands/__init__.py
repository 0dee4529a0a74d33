"""The command line, one file a group of commands. Only these modules know all parts of the project."""
