"""The group `maintenance`: what is done for a lake so that it can be trusted, each on a schedule of its own.

Verification, backups and tests of them are here; compaction and vacuum, which change files, are in `assets`.
"""
