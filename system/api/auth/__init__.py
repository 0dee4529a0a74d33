"""Authentication and authorization: tokens, the middleware, and the record of refused requests."""
