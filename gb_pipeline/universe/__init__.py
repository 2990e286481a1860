"""This package maintains the symbols of a source: what its vendor lists, what a filter chooses of that, and edits by a person."""
