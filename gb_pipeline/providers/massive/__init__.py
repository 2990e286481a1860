"""Massive, formerly Polygon.io. `provider` holds the class, the other modules what it is made of."""
