"""What Dagster's event log is told of partitions, stored or not: `outcome` has the words, `reporter` and `project_events` write.

What is known without a run comes from the ledger: `stored_partitions` and `unstored`.
"""
