"""The DuckDB catalog: a projection of the lake for other tools, made anew from it at any time."""
