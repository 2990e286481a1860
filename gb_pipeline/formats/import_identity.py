"""What an import is recognised by, and what keeps two origins out of one source.

An import is a record of `fetches` from before its first bar, and the same record again when it has ended. The commit of the first
one is conditional on what it was decided upon, so of two machines that begin at once the second sees the first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused, LakeError
from gb_pipeline.formats.archive import Archive
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.datasets import STREAM_TABLES, stream_dataset
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision

# How the names of imports begin, and the kind of the record that one of bars, and one of trades, quotes and books has begun.
_PREFIX, _OPENED, STREAMS = "import-", "instruments", "streams"


def import_id(format_name: str, archive: Archive) -> str:
    """Of the names and the content of the files, wherever they lie.

    Raises:
        FormatRefused: one of them cannot be read.
    """
    if archive.content:
        return _named((format_name, archive.content))
    return id_of_files(format_name, archive.files)


def id_of_files(format_name: str, files: Sequence[Path]) -> str:
    """The same of the files alone.

    Raises:
        FormatRefused: one of them cannot be read.
    """
    root = Path(os.path.commonpath([file.parent for file in files])) if files else Path()
    return _named((format_name, sorted((file.relative_to(root).as_posix(), _sha256(file)) for file in files)))


def opening_record(name: str, source: str, archive: Archive, normaliser: str, present: datetime) -> FetchRecord:
    """That files were opened, and what they cannot tell. It is told again, with counts, when the import has ended."""
    return begun_record(name, source, len(archive.series), archive.notes, normaliser, present, kind=_OPENED)


def begun_record(
    name: str, source: str, received: int, notes: Sequence[str], normaliser: str, present: datetime, *, kind: str
) -> FetchRecord:
    """The same of any import: `received` series or files, and the kind of the record."""
    return FetchRecord(
        source=source,
        symbol="*",
        resolution="",
        window_start=present,
        window_end=present,
        fetched_at=present,
        outcome=FetchOutcome.OK,
        received=received,
        response_hash=name.removeprefix(_PREFIX),
        message=" ".join(notes) or None,
        run_id=name,
        kind=kind,
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
    # Trades, quotes and books of the source are imported by themselves.
    asked = told.filter((pl.col("received") > 0) & (pl.col("kind") != STREAMS))
    if has_bars.height and (asked.is_empty() or asked.filter(is_other).height):
        raise LakeError(
            f"source {source} has bars already that are not of this import: of other files, or of these before they changed",
            fix="import under another name of a source: two origins in one series could not be told apart",
        )
    _refuse_running(store, source, name, told, _OPENED)


def refuse_other_streams(store: LakeStore, source: str, name: str) -> None:
    """The same of trades, quotes and books.

    Raises:
        LakeError: the source has other rows; or, in a bucket, another import of such into it has begun and not ended.
    """
    tables = store.tables
    holds = any(
        tables.newest(stream_dataset(table, precision).name).select({"source": source}).height
        for table in STREAM_TABLES
        for precision in Precision
    )
    told = fetches.read(tables, source)
    begun = told.filter(pl.col("kind") == STREAMS)
    if holds and (begun.is_empty() or begun.filter((pl.col("run_id") != name).fill_null(True)).height):
        raise LakeError(
            f"source {source} has trades, quotes or books already, and they are not of this import",
            fix="import under another name of a source: two origins in one stream could not be told apart",
        )
    _refuse_running(store, source, name, told, STREAMS)


def _refuse_running(store: LakeStore, source: str, name: str, told: pl.DataFrame, kind: str) -> None:
    if not store.storage.in_bucket:
        # The machine's lock says who is running: whoever else had begun was killed before it stored a row.
        return
    is_import = pl.col("run_id").str.starts_with(_PREFIX) & (pl.col("kind") == kind)
    is_other = (pl.col("run_id") != name).fill_null(True)
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
