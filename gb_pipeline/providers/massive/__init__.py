"""This package fetches from Massive, formerly Polygon.io; the class is in `provider`."""
