"""This package reads which symbols a source has: a list, a file, members of an index, or what a vendor was found to list."""
