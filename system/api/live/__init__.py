"""Endpoints that keep a connection open: the event stream (SSE) and the wake-up long poll.

Each has an endpoint and a hub. A hub is one a process: it follows a feed for all requests of its endpoint.
"""
