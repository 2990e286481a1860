"""Other tools' files of trades, quotes and order books: what a reader hands over, how it is stored, and how it goes out again.

A format is one declaration in `formats.registry` and one module that reads or writes it, here or beside that of its bars.
"""
