"""zipline's bundles: bars in bcolz tables, assets and adjustments in SQLite."""
