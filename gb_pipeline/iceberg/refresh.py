"""This module lets Iceberg tables follow the lake's tables of bars: it names their current data files, which stay where they are.

A refresh compares the files of the newest Delta version with those of the newest Iceberg snapshot, and adds one snapshot where they
differ. Any number of processes may do so at once: who was slower looks again.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyiceberg.manifest import DataFileContent
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    RemoveSnapshotsUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
    update_table_metadata,
)

from gb_pipeline.errors import LakeError
from gb_pipeline.iceberg import versions
from gb_pipeline.iceberg.definition import is_defined_as, new_metadata
from gb_pipeline.iceberg.entries import bars_files, deletes_file, partition_of
from gb_pipeline.iceberg.hidden import find_hidden, find_sibling, key_of
from gb_pipeline.iceberg.manifests import Changes, Content, read_content, write_snapshot
from gb_pipeline.iceberg.place import LakeFileIO, Place
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.vacuum import RETENTION

# In the summary of a snapshot: which versions of the lake's tables it mirrors.
VERSION, TABLE_ID = "gb-pipeline.delta-version", "gb-pipeline.delta-table-id"
WIDE_VERSION, WIDE_ID = "gb-pipeline.wide-delta-version", "gb-pipeline.wide-delta-table-id"
ATTEMPTS = 50
_MOST_SNAPSHOTS = 100
_MARGIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class IcebergReport:
    """What a refresh of one table did.

    Attributes:
        table: its name.
        location: of the Iceberg table.
        metadata: address of its newest metadata, which engines open.
        version: of the lake's table.
        added, removed: data files that came and went; none of both where it was the newest already.
        files, rows: data files and bars of it.
        hidden: rows of these files that do not count, because a bar of the wide table took their place.
    """

    table: str
    location: str
    metadata: str
    version: int
    added: int
    removed: int
    files: int
    rows: int
    hidden: int


def refresh_iceberg(
    store: LakeStore, *, keep: timedelta = RETENTION, now: datetime | None = None
) -> list[IcebergReport]:
    """Bring the Iceberg table of each table of bars to the newest version, and make those that are missing. Idempotent.

    Args:
        store: the lake.
        keep: snapshots that are older, and not the newest, are forgotten: a vacuum of this retention removes files of them.
        now: the present; what the system says by default.

    Raises:
        LakeError: what the lake holds is not known, or the folder cannot be written.

    Example:
        >>> [(report.table, report.rows) for report in refresh_iceberg(LakeStore.at("data"))]
        [('bars_1m', 2880)]
    """
    view = store.tables.view()
    names = [item.dataset.name for item in view.existing() if parse_bar_table(item.dataset.name) is not None]
    # Clocks of several machines differ, and a table is read some time before its snapshot is made.
    forget = (now or wall_clock()) - keep + _MARGIN
    return [_refresh(store, Place(store.storage, name), forget) for name in names]


def _refresh(store: LakeStore, place: Place, forget: datetime) -> IcebergReport:
    for attempt in range(ATTEMPTS):
        files = LakeFileIO(place)
        try:
            return _attempt(store, place, files, forget)
        except versions.Conflict:
            files.discard()
            time.sleep(random.uniform(0, min(1.0, 0.01 * 2 ** min(attempt, 7))))
        except FileNotFoundError as error:
            # Whatever is read here was named by the newest version.
            files.discard()
            raise versions.damaged_table(place, f"{error.filename or error} is missing") from error
        except OSError as error:
            files.discard()
            raise LakeError(
                f"the Iceberg table {place.folder} could not be written: {error.strerror or error}",
                fix="check free space, permissions and the network (`gb doctor`), then run it again",
            ) from error
        except BaseException:
            files.discard()
            raise
    raise LakeError(f"others refreshed {place.folder} {ATTEMPTS} times in a row", fix="run it again when they are done")


def _attempt(store: LakeStore, place: Place, files: LakeFileIO, forget: datetime) -> IcebergReport:
    # The lake after the Iceberg table: what is committed is never older than what it takes the place of.
    number = versions.find_newest(place)
    stored = versions.read_version(place, number) if number else None
    view = store.tables.view()
    delta = view.newest(place.table)
    mirrored = _mirrored(view, delta)
    base = stored if stored is not None and is_defined_as(stored, delta.dataset, place) else None
    metadata = base or new_metadata(delta.dataset, place)
    snapshot, changes = metadata.current_snapshot(), Changes((), frozenset())
    updates: list[TableUpdate] = []
    if snapshot is None or _said(snapshot) != mirrored:
        content = read_content(metadata, files)
        changes = _compare(view, delta, content, files)
        if changes or snapshot is None:
            snapshot = write_snapshot(metadata, content, changes, files, mirrored)
            head = SetSnapshotRefUpdate(
                ref_name=MAIN_BRANCH,
                type=SnapshotRefType.BRANCH,
                snapshot_id=snapshot.snapshot_id,  # type: ignore[call-arg]
            )
            updates += [AddSnapshotUpdate(snapshot=snapshot), head]
    if old := _forgettable(metadata, snapshot, forget):
        updates.append(RemoveSnapshotsUpdate(snapshot_ids=old))
    if updates:
        previous = place.uri(versions.metadata_name(place, number)) if base is not None else None
        metadata = update_table_metadata(metadata, tuple(updates), metadata_location=previous)
        number += 1
        _commit(place, number, metadata, files)
    else:
        versions.point_to(place, number)
    return IcebergReport(
        table=place.table,
        location=place.location,
        metadata=place.uri(versions.metadata_name(place, number)),
        version=delta.version,
        added=sum(file.content == DataFileContent.DATA for file in changes.added),
        removed=sum(uri.startswith(place.data_uri("")) for uri in changes.removed),
        files=_total(snapshot, "data-files"),
        rows=_total(snapshot, "records"),
        hidden=_total(snapshot, "position-deletes"),
    )


def _commit(place: Place, number: int, metadata: TableMetadata, files: LakeFileIO) -> None:
    files.flush()
    reach("iceberg_written")
    # From here on these may be part of a version, whatever is raised.
    written = files.hand_over()
    try:
        versions.add_version(place, number, metadata)
    except versions.Conflict:
        files.written = written
        raise


def _compare(view: Tables, delta: Snapshot, content: Content, files: LakeFileIO) -> Changes:
    """What tells the newest Delta version and an Iceberg snapshot apart; files of deletes are written here."""
    place = files.place
    rows = {place.data_uri(row["path"]): row for row in reading.current_files(delta).iter_rows(named=True)}
    added = bars_files(place, delta.dataset, (row for uri, row in rows.items() if uri not in content.files))
    stored = {key_of(uri): uri for uri, file in content.files.items() if file.content != DataFileContent.DATA}
    data = {uri for uri, file in content.files.items() if file.content == DataFileContent.DATA}
    wide = find_sibling(view, delta)
    wanted = {item.key: item for item in find_hidden(view, delta, wide)} if wide is not None else {}
    for key in wanted.keys() - stored.keys():
        item, uri = wanted[key], wanted[key].new_uri(place)
        encoded, data_uri = item.encode(place), place.data_uri(item.path)
        files.write(uri, encoded)
        partition = partition_of(delta.dataset, rows[data_uri])
        added.append(deletes_file(uri, data_uri, partition, len(item.positions), len(encoded)))
    gone = {uri for key, uri in stored.items() if key not in wanted}
    return Changes(added, frozenset(data - rows.keys() | gone))


def _forgettable(metadata: TableMetadata, newest: IcebergSnapshot, forget: datetime) -> list[int]:
    """Snapshots of which files may be vacuumed soon, or that are more than are kept."""
    others = [item for item in metadata.snapshots if item.snapshot_id != newest.snapshot_id]
    others.sort(key=lambda item: item.timestamp_ms)
    limit, surplus = forget.timestamp() * 1000, len(others) - _MOST_SNAPSHOTS + 1
    return [item.snapshot_id for place, item in enumerate(others) if place < surplus or item.timestamp_ms < limit]


def _mirrored(view: Tables, delta: Snapshot) -> dict[str, str]:
    """What a snapshot of this version says about itself."""
    wide = find_sibling(view, delta)
    said = {VERSION: str(delta.version), TABLE_ID: delta.table_id}
    return said if wide is None else {**said, WIDE_VERSION: str(wide.version), WIDE_ID: wide.table_id}


def _said(snapshot: IcebergSnapshot) -> dict[str, str]:
    properties = snapshot.summary.additional_properties if snapshot.summary is not None else {}
    return {name: value for name, value in properties.items() if name in {VERSION, TABLE_ID, WIDE_VERSION, WIDE_ID}}


def _total(snapshot: IcebergSnapshot, name: str) -> int:
    properties = snapshot.summary.additional_properties if snapshot.summary is not None else {}
    return int(properties[f"total-{name}"])
