"""A scorecard of sources: how complete, fresh and true what each of them sent is, how fast it came, and what it cost."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ReadError, UnknownSeries
from gb_pipeline.lake import fetches
from gb_pipeline.lake.newest_days import find_start
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.quality.gaps import OPEN_REASONS
from gb_pipeline.reading.comparison import reconcile

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_KEYS = ["source", "resolution"]
_OPEN = [reason.value for reason in OPEN_REASONS]
_NO_SESSION = ["closed", "not_listed", "removed"]
# Two sources are compared over the newest days that both have.
_COMPARED_DAYS = 30


def read_scorecard(
    lake: Lake, source: str | None = None, *, days: int | None = None, compare: bool = True
) -> pl.DataFrame:
    """One row per source and resolution.

    Args:
        source: one; all by default.
        days: look at so many days until the newest session only; calls are those of the whole history.
        compare: also compare sources that have the same symbols, which reads bars of the newest month.

    Returns:
        `source, resolution, series` (Int64), `sessions` (Int64, that are recorded), `complete` (Float64: bars stored of those
        expected), `open` (Int64, missing bars that nothing explains), `not_stored` (Int64, sessions failed or refused), `last`
        (Date, newest session with a bar), `behind` (Int64, series that end before it), `restated` (Float64: bars that the vendor
        changed, of those stored), `disagreement` (Float64: sessions of the newest month that another source has otherwise, of
        those that both have; null without another), `calls` (Int64), `latency_ms` (Float64, of a call), `calls_per_1000_bars`
        (Float64); sorted by source and resolution.

    Example:
        >>> read_scorecard(lake).select("source", "complete", "restated")
    """
    start = None if days is None else find_start(lake.store.tables, source, None, days)
    try:
        coverage = lake.coverage(source, start=start).filter(~pl.col("status").is_in(_NO_SESSION))
    except UnknownSeries:
        coverage = lake.coverage().clear()
    last = pl.col("session").filter(pl.col("actual") > 0).max()
    series = coverage.group_by(*_KEYS, "symbol").agg(last.alias("last"))
    behind = series.group_by(_KEYS).agg(
        pl.len().cast(pl.Int64).alias("series"),
        (pl.col("last").is_null() | (pl.col("last") < pl.col("last").max())).sum().cast(pl.Int64).alias("behind"),
    )
    card = (
        coverage.group_by(_KEYS)
        .agg(
            pl.len().cast(pl.Int64).alias("sessions"),
            pl.col("expected").sum(),
            pl.col("actual").sum(),
            pl.col("status").is_in(UNSTORED).sum().cast(pl.Int64).alias("not_stored"),
            last.alias("last"),
        )
        .join(behind, on=_KEYS)
        .join(_open(lake, source, start), on=_KEYS, how="left")
        .join(_restated(lake, source, start), on=_KEYS, how="left")
        .join(_calls(lake, source), on=_KEYS, how="left")
        .join(_disagreement(lake, coverage) if compare else _NOTHING_COMPARED, on=_KEYS, how="left")
    )
    share = {name: pl.when(pl.col(of) > 0).then(pl.col(name) / pl.col(of)) for name, of in _SHARES.items()}
    return card.select(
        *_KEYS,
        "series",
        "sessions",
        share["actual"].alias("complete"),
        pl.col("open").fill_null(0),
        "not_stored",
        "last",
        "behind",
        pl.when(pl.col("actual") > 0).then(pl.col("restated").fill_null(0) / pl.col("actual")).alias("restated"),
        "disagreement",
        pl.col("calls").fill_null(0),
        share["latency_ms"].alias("latency_ms"),
        (pl.col("calls") * 1000 / pl.when(pl.col("actual") > 0).then(pl.col("actual"))).alias("calls_per_1000_bars"),
    ).sort(_KEYS)


_SHARES = {"actual": "expected", "latency_ms": "calls"}
_NOTHING_COMPARED = pl.DataFrame(
    schema={"source": pl.String(), "resolution": pl.String(), "disagreement": pl.Float64()}
)


def _open(lake: Lake, source: str | None, start: date | None) -> pl.DataFrame:
    try:
        gaps = lake.gaps(source, start=start).filter(pl.col("reason").is_in(_OPEN))
    except UnknownSeries:
        gaps = lake.gaps().clear()
    return gaps.group_by(_KEYS).agg(pl.col("missing").sum().alias("open"))


def _restated(lake: Lake, source: str | None, start: date | None) -> pl.DataFrame:
    try:
        changes = lake.restatements(source, start=start)
    except UnknownSeries:
        changes = lake.restatements().clear()
    bars = pl.struct("symbol", "timestamp").n_unique().cast(pl.Int64)
    return changes.group_by(_KEYS).agg(bars.alias("restated"))


def _calls(lake: Lake, source: str | None) -> pl.DataFrame:
    asked = fetches.scan(lake.store.tables, source).filter(pl.col("kind") == "bars")
    return asked.group_by(_KEYS).agg(pl.col("calls").sum().cast(pl.Int64), pl.col("latency_ms").sum()).collect()


def _disagreement(lake: Lake, coverage: pl.DataFrame) -> pl.DataFrame:
    """Of the sessions that a source shares with others, the share that is not as theirs."""
    held = lake.coverage().filter(pl.col("actual") > 0).group_by(*_KEYS, "symbol").agg(pl.col("session").max())
    own = held.filter(pl.col("source").is_in(coverage["source"].unique().implode()))
    shared = own.join(held, on=["resolution", "symbol"], suffix="_other").filter(
        pl.col("source") != pl.col("source_other")
    )
    pairs = shared.group_by("source", "source_other", "resolution").agg(
        "symbol", pl.min_horizontal("session", "session_other").min().alias("until")
    )
    found = []
    for name, other, resolution, symbols, until in pairs.iter_rows():
        start = pl.Series([until]).dt.offset_by(f"-{_COMPARED_DAYS}d")[0]
        try:
            sessions = reconcile(lake, (name, other), resolution, symbols, start)
        except ReadError:
            # One of them is adjusted, and the splits of the other one are not known: nothing can be said of this pair.
            continue
        found.append((name, resolution, sessions.height, int((~sessions["agrees"]).sum())))
    rows = pl.DataFrame(found, schema=["source", "resolution", "shared", "differing"], orient="row")
    if rows.is_empty():
        return _NOTHING_COMPARED
    sums = rows.group_by(_KEYS).agg(pl.col("shared", "differing").sum())
    return sums.filter(pl.col("shared") > 0).select(
        *_KEYS, (pl.col("differing") / pl.col("shared")).alias("disagreement")
    )
