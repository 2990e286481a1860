"""Alpaca: US shares and coins. `provider` holds the class, the other modules what it is made of."""
