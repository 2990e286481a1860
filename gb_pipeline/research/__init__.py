"""Research on a lake: factors over its prices and fundamentals, and what backtests found."""
