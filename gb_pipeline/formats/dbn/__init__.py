"""Databento's binary encoding (DBN): bars of a second, a minute, an hour and a day."""
