"""The pure domain: symbols, resolutions, windows, calendars, schemas and resampling. No I/O, nothing else of ours."""
