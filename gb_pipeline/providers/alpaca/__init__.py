"""This package fetches US equities and crypto from Alpaca; the class is in `provider`."""
