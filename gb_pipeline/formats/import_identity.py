"""What an import is recognised by, and what keeps two origins out of one source.

An import is a record of `fetches` from before its first bar, and the same record again when it has ended. The commit of the first
one is conditional on what it was decided upon, so of two machines that begin at once the second sees the first.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused, LakeError
from gb_pipeline.formats.archive import Archive
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore

# How the names of imports begin, and the kind of the record that one has begun.
_PREFIX, _OPENED = "import-", "instruments"


def import_id(format_name: str, archive: Archive) -> str:
    """Of the names and the content of the files, wherever they lie.

    Raises:
        FormatRefused: one of them cannot be read.
    """
    if archive.content:
        return _named((format_name, archive.content))
    root = Path(os.path.commonpath([file.parent for file in archive.files])) if archive.files else Path()
    return _named((format_name, sorted((file.relative_to(root).as_posix(), _sha256(file)) for file in archive.files)))


def opening_record(name: str, source: str, archive: Archive, normaliser: str, present: datetime) -> FetchRecord:
    """That files were opened, and what they cannot tell. It is told again, with counts, when the import has ended."""
    return FetchRecord(
        source=source,
        symbol="*",
        resolution="",
        window_start=present,
        window_end=present,
        fetched_at=present,
        outcome=FetchOutcome.OK,
        received=len(archive.series),
        response_hash=name.removeprefix(_PREFIX),
        message=" ".join(archive.notes) or None,
        run_id=name,
        kind=_OPENED,
        normaliser=normaliser,
    )


def refuse_others(store: LakeStore, source: str, name: str) -> None:
    """Let an empty source pass, and one that holds nothing but what an import has brought, or is bringing.

    Raises:
        LakeError: it has other bars; or, in a bucket, another import into it has begun and not ended.
    """
    told = fetches.read(store.tables, source)
    is_other = (pl.col("run_id") != name).fill_null(True)
    has_bars = ledger.scan(store.tables, source, columns=["actual"]).filter(pl.col("actual") > 0).head(1).collect()
    asked = told.filter(pl.col("received") > 0)
    if has_bars.height and (asked.is_empty() or asked.filter(is_other).height):
        raise LakeError(
            f"source {source} has bars already that are not of this import: of other files, or of these before they changed",
            fix="import under another name of a source: two origins in one series could not be told apart",
        )
    if not store.storage.in_bucket:
        # The machine's lock says who is running: whoever else had begun was killed before it stored a bar.
        return
    is_import = pl.col("run_id").str.starts_with(_PREFIX) & (pl.col("kind") == _OPENED)
    begun = told.filter(is_other & (is_import & pl.col("stored").is_null()).fill_null(False))
    if begun.height:
        raise LakeError(
            f"another import into source {source} began at {begun['fetched_at'][0]:%Y-%m-%d %H:%M} UTC, and has not ended",
            fix="wait for it; if it was killed, run it again with its own files, or import under another name of a source",
        )


def _named(content: object) -> str:
    return _PREFIX + hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise FormatRefused(
            f"{file} cannot be read: {error.strerror}", fix="check its permissions and the disk"
        ) from None
