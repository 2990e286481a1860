"""The only package that imports Dagster: partitions, resources, assets, checks, schedules and sensors."""
