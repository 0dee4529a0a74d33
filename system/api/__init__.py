"""The HTTP API, which also serves the web app's files: Litestar on granian, one process with one worker."""
