"""What Dagster's event log is told of partitions, stored or not.

`outcome` has the words for one partition, `series_events` the events; `reporter` writes those of a run, `project_events` those of
what happened without one. What is known without a run comes from the ledger: `stored_partitions` and `unstored`.
"""
