"""ccxt: the exchanges of coins, by name. `provider` holds the class, the other modules what it is made of."""
