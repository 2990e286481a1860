"""Which symbols a source has: lists, files, members of an index, and what a vendor was found to list."""
