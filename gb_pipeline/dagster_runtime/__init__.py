"""Running Dagster: instances, their processes, their API, and what is private to Dagster."""
