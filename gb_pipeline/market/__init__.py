"""The pure domain: symbols, resolutions, windows, calendars, schemas and resampling. No I/O, no other package of ours."""
