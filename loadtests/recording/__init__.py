"""What a load's engines record: latencies, flights, live figures."""
