"""This module prepares the Iceberg tables of a lake for a vacuum, where there are any; pyiceberg need not be there."""

from __future__ import annotations

from datetime import timedelta

from gb_pipeline.iceberg.exported import is_exported, require_pyiceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.vacuum import VacuumReport


def prepare_vacuum(store: LakeStore, retention: timedelta) -> list[VacuumReport]:
    """Before files of the lake are removed: where there are Iceberg tables, none of their snapshots names one of them any more.

    Args:
        retention: of the vacuum.

    Returns:
        What was removed of Iceberg's own files; nothing where there are no Iceberg tables.

    Raises:
        ConfigError: there are, and pyiceberg is not installed.
        LakeError: they cannot be refreshed.
    """
    if not is_exported(store):
        return []
    require_pyiceberg()
    from gb_pipeline.iceberg.care import refresh_and_clean

    return [refresh_and_clean(store, retention=retention)]
