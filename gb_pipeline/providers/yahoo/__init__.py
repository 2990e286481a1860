"""This package fetches from Yahoo Finance, through yfinance's cookies; the class is in `provider`."""
