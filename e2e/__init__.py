"""Browser suites: Playwright against the web app of a running system."""
