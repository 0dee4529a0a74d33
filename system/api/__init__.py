"""The HTTP API and the web app's files: Litestar on granian, one process, one worker."""
