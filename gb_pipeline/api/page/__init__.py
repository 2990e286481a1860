"""The page in a browser: what the lake holds, how each series is, and what backtests found. It reads and never writes.

`routes` puts it together, `assets` has its files with their headers, the other modules answer what its scripts ask. The scripts are
plain ES modules under `static/`; nothing is built, and nothing comes from another host.
"""
