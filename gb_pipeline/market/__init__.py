"""The pure domain: symbols, resolutions, windows, calendars, schemas and resampling.

It does no I/O and imports no other package of ours but `errors`.
"""
