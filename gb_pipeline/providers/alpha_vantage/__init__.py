"""This package fetches US equities from Alpha Vantage, on a small daily budget; the class is in `provider`."""
