"""This module answers what the content of series is, as a fingerprint, and proves it by their bars where that is asked for.

What the ledger recorded is enough for whole sessions. Bars are read for sessions of which a window holds only some, and to compare
all of them with the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.errors import UnknownSeries
from gb_pipeline.lake.fingerprints import (
    SERIES,
    SESSION_FINGERPRINTS,
    combine_series,
    combine_sessions,
    recorded_sessions,
)
from gb_pipeline.lake.proofs import place_bars
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import describe_runs, fingerprint_text
from gb_pipeline.quality.runs import rows_of, session_runs
from gb_pipeline.reading.execute import collect_plan
from gb_pipeline.reading.plan import Question, make_plan
from gb_pipeline.storage.table import Tables

# Bars that are in memory at once.
_AT_ONCE = 4_000_000
_MISMATCHES = pl.Schema(
    {
        **dict.fromkeys(SERIES, pl.String()),
        "session": pl.Date(),
        "bars": pl.Int64(),
        "stored": pl.Int64(),
        "problem": pl.String(),
    }
)
_SESSION = [*SERIES, "session"]


@dataclass(frozen=True)
class Fingerprint:
    """The content of some series as hashes; two are equal where they hold the same bars.

    Attributes:
        whole: of all series together, 64 hexadecimal digits; empty where there is no bar.
        series: one row per series: `source, symbol, resolution, sessions, bars` (Int64), `first, last` (Datetime us UTC: first and
            last bar), `fingerprint`; sorted by series.
        sessions: the same of each session, with `session` (Date), `precision` and a `fingerprint` of 16 hexadecimal digits.
        mismatches: sessions whose bars are not those that the ledger recorded: `source, symbol, resolution, session, bars`
            (recorded), `stored` (Int64), `problem`. Empty, too, where bars were not asked about.

    Example:
        >>> lake.fingerprint("coinbase", "BTC-USD", "1m") == copy.fingerprint("coinbase", "BTC-USD", "1m")
        True
    """

    whole: str
    series: pl.DataFrame = field(compare=False, repr=False)
    sessions: pl.DataFrame = field(compare=False, repr=False)
    mismatches: pl.DataFrame = field(compare=False, repr=False)

    def __str__(self) -> str:
        """All 64 digits."""
        return self.whole

    @property
    def is_proved(self) -> bool:
        """Whether no bar contradicts what was recorded."""
        return self.mismatches.is_empty()


def make_fingerprint(
    tables: Tables,
    chosen: Iterable[tuple[str | None, Sequence[str] | None]],
    resolution: Resolution | None,
    window: Window | None,
    as_of: datetime | None,
    *,
    verify: bool = False,
) -> Fingerprint:
    """The fingerprint of some series.

    Args:
        tables: of the lake.
        chosen: a source and its symbols, or several; None stands for all.
        resolution: None for all.
        window: half-open range of bar opens; None for everything.
        as_of: what was known at this moment.
        verify: compare every bar with what was recorded.

    Raises:
        DamagedFile: a bar that is needed cannot be read.
    """
    tables = tables.view()
    parts = [
        recorded_sessions(tables, source, resolution, symbols, window, as_of)
        for source, symbols in chosen
        if symbols is None or symbols
    ]
    sessions = pl.concat([pl.DataFrame(schema=SESSION_FINGERPRINTS), *parts]).sort(_SESSION)
    mismatches = pl.DataFrame(schema=_MISMATCHES)
    if window is not None:
        sessions = _cut(tables, sessions, window, as_of)
    if verify:
        mismatches = find_mismatches(tables, sessions, as_of)
    series = combine_sessions(sessions)
    return Fingerprint(combine_series(series), series, sessions, mismatches)


def find_mismatches(tables: Tables, sessions: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    """Sessions whose bars are not those that were recorded; columns of `Fingerprint.mismatches`."""
    found = pl.concat(
        [pl.DataFrame(schema=SESSION_FINGERPRINTS)] + [_describe(tables, part, as_of)[0] for part in _parts(sessions)]
    )
    compared = sessions.join(
        found.select(*_SESSION, pl.col("bars").alias("stored"), pl.col("fingerprint").alias("found")),
        on=_SESSION,
        how="left",
        maintain_order="left",
    ).with_columns(pl.col("stored").fill_null(0))
    problem = (
        pl.when(pl.col("stored") != pl.col("bars"))
        .then(pl.format("{} bars are stored where {} were recorded", "stored", "bars"))
        .when(pl.col("found") != pl.col("fingerprint"))
        .then(pl.lit("its bars are not those that were recorded"))
    )
    return compared.with_columns(problem.alias("problem")).drop_nulls("problem").select(_MISMATCHES.names())


def read_bars(tables: Tables, sessions: pl.DataFrame, as_of: datetime | None) -> Iterator[pl.DataFrame]:
    """The bars of some sessions: `source, symbol, resolution, session, timestamp` and content, a part at a time.

    Args:
        sessions: columns of `SESSION_FINGERPRINTS`.
    """
    for part in _parts(sessions):
        yield _describe(tables, part, as_of)[1]


def _cut(tables: Tables, sessions: pl.DataFrame, window: Window, as_of: datetime | None) -> pl.DataFrame:
    """The sessions, those that reach out of the window described by the bars that lie in it."""
    start, end = instant_literal(window.start), instant_literal(window.end)
    is_cut = (pl.col("first") < start) | (pl.col("last") >= end)
    cut = sessions.filter(is_cut)
    if cut.is_empty():
        return sessions
    edges = cut.with_columns(
        pl.max_horizontal("first", start).alias("first"),
        pl.min_horizontal("last", end - pl.duration(microseconds=1)).alias("last"),
    )
    # The first and the last day of a window lie far apart: bars between them are not read.
    described = [
        _describe(tables, part, as_of)[0] for _, of_day in edges.group_by("session") for part in _parts(of_day)
    ]
    return pl.concat([sessions.filter(~is_cut), *described]).sort(_SESSION)


def _parts(sessions: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Sessions of one source and resolution with so many bars that they can be read at once."""
    for _, group in sessions.group_by("source", "resolution", maintain_order=True):
        part = (group["bars"].cum_sum() // _AT_ONCE).alias("part")
        for _, rows in group.hstack([part]).group_by("part", maintain_order=True):
            yield rows.drop("part")


def _describe(tables: Tables, sessions: pl.DataFrame, as_of: datetime | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is stored of sessions of one source and resolution: columns of `SESSION_FINGERPRINTS`, and the bars themselves."""
    source, resolution = sessions["source"][0], Resolution(sessions["resolution"][0])
    first, last = sessions["first"].min(), sessions["last"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    symbols = tuple(sessions["symbol"].unique().sort())
    question = Question(symbols, resolution, Window(first, last + timedelta(microseconds=1)), source, as_of)
    bars = _read(tables, question)
    edges = sessions.select(
        "symbol",
        "session",
        pl.col("first").alias("first_timestamp"),
        pl.col("last").alias("last_timestamp"),
        "precision",
    )
    placed = rows_of(place_bars(bars, edges, resolution)[0]).select("symbol", "session", "timestamp", *CONTENT)
    about = {"source": source, "resolution": resolution.value}
    described = []
    for precision in Precision:
        own = placed.join(edges.filter(pl.col("precision") == precision.value), on=["symbol", "session"], how="semi")
        if own.is_empty():
            continue
        runs = session_runs(own.sort("symbol", "session", "timestamp"))
        found = describe_runs(runs, source, resolution, precision)
        stamps = runs.frame["timestamp"]
        described.append(
            found.select(
                "symbol",
                "session",
                pl.col("rows").alias("bars"),
                stamps[runs.starts].alias("first"),
                stamps[runs.starts + runs.counts - 1].alias("last"),
                pl.lit(precision.value).alias("precision"),
                fingerprint_text(found["fingerprint"]),
                **{name: pl.lit(value) for name, value in about.items()},
            ).select(SESSION_FINGERPRINTS.names())
        )
    frame = pl.concat([pl.DataFrame(schema=SESSION_FINGERPRINTS), *described])
    return frame, placed.with_columns(pl.lit(value).alias(name) for name, value in about.items())


def _read(tables: Tables, question: Question) -> pl.DataFrame:
    """The bars, sorted by symbol and timestamp; none where nothing is stored any more of what was recorded."""
    names = ["symbol", "timestamp", *CONTENT]
    try:
        return collect_plan(make_plan(tables, question), names, as_float=False)
    except UnknownSeries:
        return pl.DataFrame(schema=polars_schema(bar_schema(Precision.WIDE)))[names]
