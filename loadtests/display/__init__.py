"""What Locust shows of a load while it runs."""
