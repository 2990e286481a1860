"""This module cuts a question for bars into pieces that other processes answer, so that all of them together are one answer.

A piece names a lake, series, a range and a moment; it holds no bar and no credential. Whoever reads one verifies what it reads, as
`Lake.bars` does. Engines such as Dask bring the processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, NoDataInRange
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, FETCHES, SESSIONS, bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.context import Context, collect_request, plan_request
from gb_pipeline.reading.opening import as_address, refuse_no_lake
from gb_pipeline.reading.pins import newest_moment
from gb_pipeline.reading.request import Request
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class BarsPiece:
    """A part of a question for bars, to be answered anywhere that the lake can be read.

    Attributes:
        root: of the lake: a folder, or `s3://bucket/prefix`, for which the reader's own environment has the credentials.
        symbols, resolution, start, end, source, as_of: as in `Lake.bars`.
        rows: about how many bars it is, by the ledger.
        options: further keywords of `Lake.bars`.
    """

    root: str
    symbols: tuple[str, ...]
    resolution: str
    start: datetime
    end: datetime
    source: str | None
    as_of: datetime
    rows: int
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: tuple[SourceFacts, ...] = field(default=(), repr=False)

    def read(self, reader: BarReader | None = None) -> pl.DataFrame:
        """The bars, as `Lake.bars` returns them; without a row where it has none.

        Args:
            reader: the lake, where this process has it open, with the answers that it keeps; else it is opened here.

        Raises:
            DamagedFile: what was read is not what was written.
            ConfigError: the lake cannot be reached from here.
        """
        reader = reader or _open(self.root, self.facts)
        question: dict[str, Any] = {"source": self.source, "as_of": self.as_of, **self.options}
        chosen = list(self.symbols), self.resolution
        try:
            return reader.bars(*chosen, self.start, self.end, **question)
        except NoDataInRange:
            return reader.scan_bars(*chosen, self.start, self.end, **question).collect()

    def read_pandas(self) -> pd.DataFrame:
        """The bars as a pandas frame with a column `timestamp` and an index of numbers; for `dask.dataframe.from_map`."""
        return self.read().to_pandas()


def make_pieces(
    context: Context, root: str, request: Request, most_rows: int, options: Mapping[str, Any]
) -> list[BarsPiece]:
    """Cut a question; see `Lake.pieces`."""
    if most_rows < 1:
        raise ConfigError(f"pieces of {most_rows} rows", fix="ask for 1 or more")
    # Names, columns and adjustments that cannot be had are refused here and not by every process.
    plan_request(context, request)
    question, tables = request.question, context.tables.view()
    names = [bars_dataset(question.resolution, item).name for item in Precision]
    newest = newest_moment(tables, [*names, SESSIONS.name, CORPORATE_ACTIONS.name, FETCHES.name])
    moment = newest if question.as_of is None else min(question.as_of, newest)
    counts = _count_bars(tables, question.symbols, question.resolution, question.window, question.source, moment)
    if counts.is_empty():
        # Nothing was ever stored of it there: the error says what there is.
        collect_request(context, request, as_float=False)
    facts = tuple(context.facts())
    return [
        BarsPiece(
            root,
            codes,
            question.resolution.value,
            part.start,
            part.end,
            question.source,
            moment,
            rows,
            dict(options),
            facts,
        )
        for codes, part, rows in _cut(counts, question.window, most_rows)
    ]


def _count_bars(
    tables: Tables,
    symbols: Sequence[str] | None,
    resolution: Resolution,
    window: Window,
    source: str | None,
    moment: datetime,
) -> pl.DataFrame:
    """`symbol`, `day` (Datetime, midnight UTC) and `rows` of sessions that touch a window, sorted, by the ledger alone."""
    recorded = ledger.current(tables, source, resolution, list(symbols or ()) or None, as_of=moment)
    touching = recorded.filter(
        pl.col("first_timestamp") < pl.lit(window.end, INSTANT),
        pl.col("last_timestamp") >= pl.lit(window.start, INSTANT),
    )
    return (
        touching.select("symbol", "actual", day=pl.col("first_timestamp").dt.truncate("1d"))
        .group_by("symbol", "day")
        .agg(rows=pl.col("actual").sum().cast(pl.Int64))
        .sort("symbol", "day")
    )


def _cut(counts: pl.DataFrame, window: Window, most_rows: int) -> Iterator[tuple[tuple[str, ...], Window, int]]:
    """Neighbouring symbols that are small together, and stretches of days of one that is large, in the order of `Lake.bars`."""
    totals = counts.group_by("symbol", maintain_order=True).agg(pl.col("rows").sum())
    small: list[str] = []
    held = 0
    for code, rows in totals.iter_rows():
        if small and held + rows > most_rows:
            yield tuple(small), window, held
            small, held = [], 0
        if rows <= most_rows:
            small.append(code)
            held += rows
            continue
        yield from (((code,), part, count) for part, count in _cut_days(counts, code, window, most_rows))
    if small:
        yield tuple(small), window, held


def _cut_days(counts: pl.DataFrame, code: str, window: Window, most_rows: int) -> Iterator[tuple[Window, int]]:
    """Stretches of whole UTC days, as each day of a symbol is answered by one source; they touch each other."""
    own = counts.filter(pl.col("symbol") == code)
    parts = (
        own.with_columns(part=(pl.col("rows").cum_sum() - 1) // most_rows)
        .group_by("part", maintain_order=True)
        .agg(pl.col("day").first(), pl.col("rows").sum())
    )
    begins = [window.start, *(day for day in parts["day"][1:] if window.start < day < window.end)]
    ends = [*begins[1:], window.end]
    rows = parts["rows"].to_list()
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        yield Window(begin, end), rows[min(number, len(rows) - 1)]


@lru_cache(maxsize=8)
def _open(root: str, facts: tuple[SourceFacts, ...]) -> BarReader:
    """The lake as this process reads it; its index is kept from piece to piece."""
    store = LakeStore.at(as_address(root))
    refuse_no_lake(store.storage)
    store.storage.refuse_other_format()
    return _Reader(store, facts)


class _Reader(BarReader):
    """Bars of a lake by what whoever cut the question knew of its sources."""

    def __init__(self, store: LakeStore, facts: tuple[SourceFacts, ...]) -> None:
        self._context = Context(store.tables, store.clock, lambda: facts)
