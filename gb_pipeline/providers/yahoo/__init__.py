"""Yahoo Finance, through yfinance's cookies. `provider` holds the class, the other modules what it is made of."""
