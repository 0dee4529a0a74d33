"""What every answer has in common: the middleware, problems, listeners, descriptions."""
