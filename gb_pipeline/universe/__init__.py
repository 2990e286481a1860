"""Which instruments a source has: as a list, a file, a vendor's own list with a filter, or a point-in-time list."""
