"""The DuckDB catalog: a projection of the lake for other tools, which can be built anew at any time."""
