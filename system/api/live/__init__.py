"""The live side of the API: Server-Sent Events and wake-up calls."""
