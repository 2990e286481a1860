"""This package reads delimited text files on disk; the class is in `provider`."""
