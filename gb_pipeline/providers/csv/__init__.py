"""Delimited text files on disk. `provider` holds the class, the other modules what it is made of."""
