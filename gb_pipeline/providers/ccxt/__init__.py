"""This package fetches from crypto exchanges, by their name in ccxt; the class is in `provider`."""
