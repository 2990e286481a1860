"""NautilusTrader's Parquet catalogs: bars, and the instruments that they are of."""
