"""A loopback exchange that speaks real vendors' protocols: the demo's source and the tests' vendor."""
