"""Splits over time, and which stored prices carry which."""
