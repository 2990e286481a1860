"""Research on a lake: factors over its prices and fundamentals. Nothing here writes."""
