"""This package knows splits over time, and which stored prices carry which."""
