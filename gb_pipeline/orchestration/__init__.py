"""This package holds Dagster's definitions: partitions, resources, assets, checks, schedules and sensors."""
