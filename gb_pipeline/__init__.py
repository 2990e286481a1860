"""A market-data lake that a quant can trust, orchestrated by Dagster."""
