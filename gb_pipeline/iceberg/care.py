"""This module gets Iceberg tables ready for a vacuum of the lake, which removes data files that older snapshots of them name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from pyiceberg.manifest import ManifestContent

from gb_pipeline.iceberg import versions
from gb_pipeline.iceberg.exported import FOLDER, hint_name
from gb_pipeline.iceberg.place import LakeFileIO, Place
from gb_pipeline.iceberg.refresh import refresh_iceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline.storage.vacuum import RETENTION, SHORTEST, VacuumReport


def refresh_and_clean(
    store: LakeStore, *, retention: timedelta = RETENTION, now: datetime | None = None
) -> VacuumReport:
    """Before a vacuum: no snapshot is left that names a file which may go; then the same for files of Iceberg's own.

    Args:
        store: the lake, whose tables are refreshed.
        retention: of the vacuum.
        now: the present, as the file system has it.

    Returns:
        What was removed below `iceberg/`; nothing of it was older metadata than the retention says.

    Raises:
        LakeError: as `refresh_iceberg`.
    """
    moment, kept = now or wall_clock(), max(retention, SHORTEST)
    removed, size = list[str](), 0
    for report in refresh_iceberg(store, keep=kept, now=moment):
        place = Place(store.storage, report.table)
        needed = set(_needed(place))
        for name, length, changed_at in list(store.storage.files.list(place.folder)):
            if name not in needed and changed_at < (moment - kept).timestamp():
                store.storage.files.delete(name)
                removed.append(name)
                size += length
    return VacuumReport(FOLDER, tuple(removed), size, deleted=True)


def _needed(place: Place) -> Iterator[str]:
    """Names of the files that the newest version needs for one of its snapshots."""
    version = versions.find_newest(place)
    metadata, files = versions.read_version(place, version), LakeFileIO(place)
    yield from (hint_name(place.table), versions.metadata_name(place, version))
    for snapshot in metadata.snapshots:
        yield place.name(snapshot.manifest_list)
        for manifest in snapshot.manifests(files):
            yield place.name(manifest.manifest_path)
            if manifest.content is ManifestContent.DELETES:
                entries = manifest.fetch_manifest_entry(files, discard_deleted=True)
                yield from (place.name(entry.data_file.file_path) for entry in entries)
