"""This module makes one snapshot of an Iceberg table from another one: which files come, which go, and which manifests say so.

Manifests in which nothing changes are taken over as they are. Those that lose a file are written anew, and all of them are when
they have become many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from gb_pipeline.iceberg.place import LakeFileIO
from gb_pipeline.storage.commit import wall_clock

# Files that one manifest names at most, and manifests beyond those that this needs, before they are merged.
_FILES, _SPARE = 10_000, 20
_COMPRESSION: Literal["deflate"] = "deflate"


@dataclass(frozen=True)
class Content:
    """What a snapshot consists of.

    Attributes:
        manifests: each with the files of it that count.
        files: the address of each file that counts, data and deletes.
    """

    manifests: Sequence[tuple[ManifestFile, Sequence[ManifestEntry]]] = ()
    files: Mapping[str, DataFile] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """Files that come, and addresses of those that go."""

    added: Sequence[DataFile]
    removed: frozenset[str]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.added or self.removed)


def read_content(metadata: TableMetadata, files: LakeFileIO) -> Content:
    """What the current snapshot of a table consists of."""
    snapshot = metadata.current_snapshot()
    if snapshot is None:
        return Content()
    manifests = [
        (manifest, manifest.fetch_manifest_entry(files, discard_deleted=True)) for manifest in snapshot.manifests(files)
    ]
    return Content(
        manifests, {entry.data_file.file_path: entry.data_file for _, entries in manifests for entry in entries}
    )


def write_snapshot(
    metadata: TableMetadata, content: Content, changes: Changes, files: LakeFileIO, properties: Mapping[str, str]
) -> Snapshot:
    """Write manifests, and the list of them.

    Args:
        metadata: the version that the snapshot is made on.
        content: what its current snapshot consists of.
        properties: what the snapshot says about itself besides.
    """
    snapshot_id = metadata.new_snapshot_id()
    writer = _Writer(metadata, snapshot_id, files)
    parent = metadata.current_snapshot()
    manifests = writer.write_all(content, changes)
    number = metadata.next_sequence_number()
    uri = f"{metadata.location}/metadata/snap-{snapshot_id}-{uuid4()}.avro"
    parent_id = parent.snapshot_id if parent is not None else None
    with write_manifest_list(2, files.new_output(uri), snapshot_id, parent_id, number, _COMPRESSION) as manifest_list:
        manifest_list.add_manifests(manifests)
    return Snapshot(
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent_id,
        sequence_number=number,
        # Readers refuse a log of snapshots that goes back, as the clocks of several machines may.
        timestamp_ms=max(int(wall_clock().timestamp() * 1000), parent.timestamp_ms + 1 if parent is not None else 0),
        manifest_list=uri,
        summary=_summarise(content, changes, properties),
        schema_id=metadata.current_schema_id,
    )


class _DeletesWriter(ManifestWriterV2):
    """Of manifests of files of deletes, which pyiceberg reads and does not write."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


@dataclass
class _Writer:
    metadata: TableMetadata
    snapshot_id: int
    files: LakeFileIO

    def write_all(self, content: Content, changes: Changes) -> list[ManifestFile]:
        added = [self._entry(ManifestEntryStatus.ADDED, file) for file in changes.added]
        kept: list[ManifestFile] = []
        changed: list[ManifestEntry] = []
        many = len(content.manifests) > _SPARE + len(content.files) // _FILES
        for manifest, entries in content.manifests:
            if not many and not any(entry.data_file.file_path in changes.removed for entry in entries):
                # One that only tells what an earlier snapshot removed is of no use to this one.
                kept += [manifest] if entries else []
                continue
            changed += [self._carry(entry, changes.removed) for entry in entries]
        return [*kept, *self._write_manifests([*changed, *added])]

    def _carry(self, entry: ManifestEntry, removed: frozenset[str]) -> ManifestEntry:
        if entry.data_file.file_path in removed:
            return self._entry(ManifestEntryStatus.DELETED, entry.data_file, entry)
        return self._entry(ManifestEntryStatus.EXISTING, entry.data_file, entry)

    def _entry(self, status: ManifestEntryStatus, file: DataFile, before: ManifestEntry | None = None) -> ManifestEntry:
        is_existing = before is not None and status is ManifestEntryStatus.EXISTING
        return ManifestEntry.from_args(
            status=status,
            snapshot_id=before.snapshot_id if before is not None and is_existing else self.snapshot_id,
            sequence_number=None if before is None else before.sequence_number,
            file_sequence_number=None if before is None else before.file_sequence_number,
            data_file=file,
        )

    def _write_manifests(self, entries: Sequence[ManifestEntry]) -> list[ManifestFile]:
        data = [entry for entry in entries if entry.data_file.content == DataFileContent.DATA]
        deletes = [entry for entry in entries if entry.data_file.content != DataFileContent.DATA]
        return [
            self._write_manifest(kind, group[start : start + _FILES])
            for kind, group in ((ManifestWriterV2, data), (_DeletesWriter, deletes))
            for start in range(0, len(group), _FILES)
        ]

    def _write_manifest(self, kind: type[ManifestWriterV2], entries: Sequence[ManifestEntry]) -> ManifestFile:
        uri = f"{self.metadata.location}/metadata/{uuid4()}-m0.avro"
        output = self.files.new_output(uri)
        with kind(self.metadata.spec(), self.metadata.schema(), output, self.snapshot_id, _COMPRESSION) as writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()


def _summarise(content: Content, changes: Changes, properties: Mapping[str, str]) -> Summary:
    removed = [content.files[uri] for uri in changes.removed]
    remaining = [file for uri, file in content.files.items() if uri not in changes.removed]
    if not removed and all(file.content == DataFileContent.DATA for file in changes.added):
        operation = Operation.APPEND
    else:
        operation = Operation.OVERWRITE if changes.added else Operation.DELETE
    counts = {
        **_count("added", "added", changes.added),
        **_count("deleted", "removed", removed),
        **_count("total", "total", [*remaining, *changes.added]),
    }
    return Summary(operation, **counts, **properties)


def _count(prefix: str, size_prefix: str, files: Sequence[DataFile]) -> dict[str, str]:
    """What Iceberg wants a summary to say of some files; of totals all, of changes what there is."""
    data = [file for file in files if file.content == DataFileContent.DATA]
    deletes = [file for file in files if file.content != DataFileContent.DATA]
    rows = sum(file.record_count for file in deletes)
    counts: dict[str, Any] = {
        f"{prefix}-data-files": len(data),
        f"{prefix}-records": sum(file.record_count for file in data),
        f"{size_prefix}-files-size": sum(file.file_size_in_bytes for file in files),
        f"{'removed' if prefix == 'deleted' else prefix}-delete-files": len(deletes),
        f"{'removed' if prefix == 'deleted' else prefix}-position-deletes": rows,
    }
    if prefix == "total":
        counts["total-equality-deletes"] = 0
    return {name: str(count) for name, count in counts.items() if count or prefix == "total"}
