"""This package runs Dagster: instances, their processes, their API, and whatever is private to Dagster."""
