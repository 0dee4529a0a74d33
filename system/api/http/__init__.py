"""HTTP itself: bodies and headers, errors, metrics, the documents that describe the API, TCP."""
