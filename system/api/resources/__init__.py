"""The resources of the API, one module each; `items` is what they share."""
