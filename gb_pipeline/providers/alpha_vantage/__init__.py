"""Alpha Vantage: US shares, on a small daily budget. `provider` holds the class, the other modules what it is made of."""
