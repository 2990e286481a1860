"""This module reads and writes instruments and the symbols under which they stood, as they are known now and were at any moment.

What is told becomes `told_instruments`, is recognised in `instrument_identity`, and compared in `instrument_changes`; one commit
stores it. Which row holds for a symbol and a day is computed in `market.symbology`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import INSTRUMENTS
from gb_pipeline.lake.instrument_changes import Telling, describe, differences, rows_after
from gb_pipeline.lake.instrument_identity import identify
from gb_pipeline.lake.told_instruments import read_told
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbology import find_overlaps
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

TABLE = INSTRUMENTS.name
_NAMES = INSTRUMENTS.columns.names
_ORDER = ["source", "symbol", "valid_from"]
_FIX = "nothing was stored; say when the one ends, or, where both are one, name its id in the column `instrument`"
# Columns of a row that holds; when it ended to be known is not among them.
INSTRUMENTS_STORED = pl.Schema({name: INSTRUMENTS.polars[name] for name in (*_NAMES, KNOWN_AT)})


@dataclass(frozen=True)
class InstrumentsReport:
    """One `write_instruments`.

    Attributes:
        source: whose word it is.
        received: rows that were told.
        new: rows of symbols and days that the lake did not hold.
        changed: rows that it held with another content, or until another day; the old ones stay for `as_of`.
        ended: rows that no longer hold, and nothing in their place.
        unchanged: rows that were told and stand there.
        refused: why rows were not taken, each naming both instruments; empty where all were.
        instruments: ids of what was told, in the order of the rows, refused ones included.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    source: str
    received: int
    new: int
    changed: int
    ended: int
    unchanged: int
    refused: tuple[str, ...]
    instruments: tuple[str, ...]
    version: int | None


def history(tables: Tables, source: str | None = None) -> pl.DataFrame:
    """Every version of every row, in the order of key and `known_at`."""
    files = tables.newest(TABLE).select({} if source is None else {"source": source})
    return reading.read(tables.storage, INSTRUMENTS, files).sort(*_ORDER, KNOWN_AT)


def read(tables: Tables, source: str | None = None, as_of: datetime | None = None) -> pl.DataFrame:
    """The rows that hold now, or were known at a moment.

    Returns:
        Columns of `INSTRUMENTS_STORED`, sorted by source, symbol and first day.
    """
    snapshot = tables.newest(TABLE)
    files = snapshot.select({} if source is None else {"source": source})
    if as_of is None:
        rows = reading.read(tables.storage, INSTRUMENTS, reading.current_files(snapshot, files))
        rows = rows.filter(pl.col(SUPERSEDED_AT).is_null())
    else:
        rows = reading.read(tables.storage, INSTRUMENTS, reading.files_valid_at(files, as_of))
        rows = rows.filter(reading.valid_at(as_of, history=True))
    return rows.select(INSTRUMENTS_STORED.names()).sort(_ORDER)


def write_instruments(
    tables: Tables,
    source: str,
    frame: pl.DataFrame,
    *,
    telling: Telling,
    fetched_at: datetime,
    day: date,
    strict: bool,
    clock: Clock,
) -> InstrumentsReport:
    """See `LakeStore.write_instruments`."""
    told = read_told(frame).with_columns(pl.lit(fetched_at, INSTRUMENTS.polars["fetched_at"]).alias("fetched_at"))

    def decide(draft: Draft) -> InstrumentsReport:
        return _decide(draft, source, told, telling, day, strict=strict)

    return commit(tables[TABLE], decide, clock=clock)


def _decide(
    draft: Draft, source: str, told: pl.DataFrame, telling: Telling, day: date, *, strict: bool
) -> InstrumentsReport:
    """One attempt: read, recognise, compare, and fill the draft."""
    files = reading.current_files(draft.base)
    file_rows = reading.read(draft.table.storage, INSTRUMENTS, files, with_file=True)
    is_present = telling is Telling.PRESENT
    rows = identify(told.drop("fetched_at"), file_rows.select(_NAMES), source, present=is_present)
    rows = rows.with_columns(told["fetched_at"])
    own = file_rows.filter(pl.col("source") == source)
    taken, refused = rows, []
    while True:
        after = rows_after(taken, own.select(_NAMES).drop("source"), telling, day)
        clash = find_overlaps(after.with_columns(pl.lit(source).alias("source")))
        if clash.is_empty():
            break
        texts = [describe(pair) for pair in clash.rows(named=True)]
        if strict:
            raise LakeError(list_some(texts, 3), fix=_FIX)
        refused += texts
        ids = pl.concat([clash["instrument"], clash["other_instrument"]]).implode()
        left = taken.filter(~pl.col("instrument").is_in(ids))
        # What is stored does not clash with itself, so something that was told does.
        taken = left if left.height < taken.height else taken.clear()
    added, replaced = differences(after, own)
    version = None
    if added.height or replaced.height:
        version = draft.base.version + 1
        added = added.with_columns(pl.lit(source).alias("source")).select(_NAMES).sort(_ORDER)
        revise(draft, added, replaced, files, file_rows)
    changed = added.join(replaced, on=["symbol", "valid_from"], how="semi").height
    told_again = taken.join(added, on=["instrument", "symbol"], how="anti").height
    return InstrumentsReport(
        source, rows.height, added.height - changed, changed, replaced.height - changed, told_again,
        tuple(dict.fromkeys(refused)), tuple(rows["instrument"]), version,
    )  # fmt: skip


def instruments_of(rows: pl.DataFrame, codes: Sequence[str]) -> pl.DataFrame:
    """The rows of whatever ever stood under some symbols, or has these ids."""
    ids = rows.filter(pl.col("symbol").is_in(list(codes)) | pl.col("instrument").is_in(list(codes)))["instrument"]
    return rows.filter(pl.col("instrument").is_in(ids.implode()))
