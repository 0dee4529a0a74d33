"""Documents: what a report looks like to a person, a pull request, a terminal, and a CI system."""
