"""The group `maintenance`: what is done for a lake so that it can be trusted, each on a schedule of its own.

Verification, backups and tests of them, and the pruning of Dagster's own history are here; compaction and vacuum, which change
files, are in `assets`.
"""
