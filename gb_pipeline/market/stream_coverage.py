"""This module tells from intervals of evidence which stretches of a stream are covered, and which are holes.

Coverage rests on evidence alone: whatever no `covered` or `healed` interval covers is a hole, whether or not a `gap` row says why.
A gap takes away what its own collector calls covered, for it is told later; stretches of several collectors are united. Everything
is half-open, in ns since 1970 UTC, and pure; `lake.stream_evidence` reads the tables.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from gb_pipeline.market.tick_schema import GapReason, IntervalKind

STREAM = ("source", "symbol", "dataset")
EVIDENCE = (IntervalKind.COVERED.value, IntervalKind.HEALED.value)
STRETCHES = pl.Schema({**dict.fromkeys(STREAM, pl.String()), "start_time": pl.Int64(), "end_time": pl.Int64()})
# Of each collector by itself.
_OWN = pl.Schema({**STRETCHES, "collector": pl.String()})
# The same of the columns `gaps` and `messages`.
GAPS_PER_MILLION = (
    pl.when(pl.col("messages") > 0).then(pl.col("gaps") * 1e6 / pl.col("messages")).alias("gaps_per_million")
)
HOLES = pl.Schema({**STRETCHES, "reason": pl.String(), "missing": pl.Int64()})
_START, _END = pl.col("start_time"), pl.col("end_time")


def covered_stretches(intervals: pl.DataFrame, *, by_collector: bool = False) -> pl.DataFrame:
    """What is covered, with stretches that meet or overlap joined.

    Args:
        intervals: columns of `tick_schema.STREAM_INTERVALS`; a gap counts against what its own collector covers.
        by_collector: what each collector covers by itself; else all of them together.

    Returns:
        `source, symbol, dataset` (String), `collector` where wanted, `start_time, end_time` (Int64 ns), sorted; no two of a stream
        meet.

    Example:
        >>> rows = {"source": "k", "symbol": "A", "dataset": "trades", "kind": "covered", "collector": "one"}
        >>> frame = pl.DataFrame([rows | {"start_time": 0, "end_time": 5}, rows | {"start_time": 5, "end_time": 9}])
        >>> covered_stretches(frame).row(0)[3:]
        (0, 9)
    """
    keys = [*STREAM, "collector"] if by_collector else [*STREAM]
    evidence = intervals.filter(_START < _END)
    is_healed = pl.col("kind") == IntervalKind.HEALED.value
    own = _less_gaps(evidence.filter(~is_healed))
    return _joined(pl.concat([own, evidence.filter(is_healed).select(_OWN.names()).cast(_OWN)]), keys)


def _joined(stretches: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Stretches that meet or overlap as one."""
    ordered = stretches.sort(*keys, "start_time", "end_time")
    reached = _END.cum_max().shift(1).over(keys)
    begins = reached.is_null() | (reached < _START)
    joined = ordered.with_columns(begins.cum_sum().over(keys).alias("stretch"))
    return (
        joined.group_by(*keys, "stretch", maintain_order=True)
        .agg(_START.min(), _END.max())
        .select(*keys, "start_time", "end_time")
    )


def _less_gaps(evidence: pl.DataFrame) -> pl.DataFrame:
    """What each collector covers, without its own gaps: a walk over all edges, counting what is open."""
    is_gap = (pl.col("kind") == IntervalKind.GAP.value).cast(pl.Int64())
    keys = [*STREAM, "collector"]
    edges = pl.concat(
        [
            evidence.select(
                *keys, time.alias("start_time"), (step * (1 - is_gap)).alias("covers"), (step * is_gap).alias("gaps")
            )
            for time, step in ((_START, 1), (_END, -1))
        ]
    )
    walk = (
        edges.group_by(*keys, "start_time")
        .agg(pl.col("covers", "gaps").sum())
        .sort(*keys, "start_time")
        .with_columns(pl.col("covers", "gaps").cum_sum().over(keys), _START.shift(-1).over(keys).alias("end_time"))
    )
    return walk.filter(pl.col("covers") > 0, pl.col("gaps") == 0).select(_OWN.names()).cast(_OWN)


def count_gaps(intervals: pl.DataFrame) -> pl.DataFrame:
    """How much was heard and how often something was missing, of each stream.

    Args:
        intervals: columns of `tick_schema.STREAM_INTERVALS`.

    Returns:
        `source, symbol, dataset` (String), and Int64: `messages`, `rows` of covered stretches, `gaps` (each time that a collector
        called one), and `missing` in them, as far as numbers tell.
    """
    is_covered, is_gap = (pl.col("kind") == kind.value for kind in (IntervalKind.COVERED, IntervalKind.GAP))
    # What a person took out was heard.
    is_gap &= pl.col("reason").ne_missing(GapReason.REMOVED.value)
    return intervals.group_by(STREAM).agg(
        pl.col("messages", "rows").filter(is_covered).sum(),
        is_gap.sum().cast(pl.Int64).alias("gaps"),
        pl.col("missing").filter(is_gap).sum(),
    )


def gaps_per_million(gaps: int, messages: int) -> float | None:
    """Gaps for a million messages; None without any.

    Example:
        >>> gaps_per_million(1, 500_000)
        2.0
    """
    return gaps * 1e6 / messages if messages else None


def find_holes(intervals: pl.DataFrame, windows: pl.DataFrame) -> pl.DataFrame:
    """The stretches of some windows that nothing covers, each with why, where a gap row says so.

    Args:
        intervals: columns of `tick_schema.STREAM_INTERVALS`, all that touch the windows.
        windows: `source, symbol, dataset, start_time, end_time`, one for each stream; streams without any interval count too.

    Returns:
        `source, symbol, dataset, start_time, end_time, reason, missing`, sorted; `reason` and `missing` are those of the gap rows
        that share most of the hole's time, null where there is none.
    """
    wanted = windows.select(STRETCHES.names()).filter(_START < _END)
    covered = covered_stretches(intervals).join(
        wanted.rename({"start_time": "from_time", "end_time": "to_time"}), on=STREAM, how="inner"
    )
    covered = covered.with_columns(
        pl.max_horizontal("start_time", "from_time"), pl.min_horizontal("end_time", "to_time")
    ).filter(pl.col("start_time") < pl.col("end_time"))
    # Before the first covered stretch of a window, and after each of them.
    edges = pl.concat(
        [
            wanted.select(*STREAM, pl.col("start_time").alias("hole_start")),
            covered.select(*STREAM, pl.col("end_time").alias("hole_start")),
        ]
    ).sort(*STREAM, "hole_start")
    starts = pl.concat(
        [
            covered.select(*STREAM, pl.col("start_time").alias("hole_end")),
            wanted.select(*STREAM, pl.col("end_time").alias("hole_end")),
        ]
    ).sort(*STREAM, "hole_end")
    holes = edges.with_columns(starts["hole_end"]).filter(pl.col("hole_start") < pl.col("hole_end"))
    return _explain(holes.rename({"hole_start": "start_time", "hole_end": "end_time"}), intervals)


def _explain(holes: pl.DataFrame, intervals: pl.DataFrame) -> pl.DataFrame:
    gaps = intervals.filter(pl.col("kind") == IntervalKind.GAP.value).select(
        *STREAM, _START.alias("gap_start"), _END.alias("gap_end"), "reason", "missing"
    )
    shared = pl.min_horizontal("end_time", "gap_end") - pl.max_horizontal("start_time", "gap_start")
    # A gap of no length, such as a number that was left out between two messages of one moment, lies at its hole's edge.
    found = holes.join(gaps, on=STREAM, how="inner").with_columns(shared.alias("shared")).filter(pl.col("shared") >= 0)
    of_reason = found.group_by(*STREAM, "start_time", "end_time", "reason").agg(
        pl.col("shared").sum(), pl.col("missing").sum().alias("missing"), pl.col("missing").count().alias("numbered")
    )
    best = of_reason.sort("shared", "reason", descending=[True, False]).unique(
        [*STREAM, "start_time", "end_time"], keep="first", maintain_order=True
    )
    missing = pl.when(pl.col("numbered") > 0).then("missing").alias("missing")
    best = best.select(*STREAM, "start_time", "end_time", "reason", missing)
    return (
        holes.join(best, on=[*STREAM, "start_time", "end_time"], how="left")
        .select(HOLES.names())
        .cast(HOLES)
        .sort(*STREAM, "start_time")
    )


def windows_covered(covered: pl.DataFrame, ends: pl.Series, length: int) -> pl.Series:
    """Whether each window lies in one covered stretch.

    Args:
        covered: stretches of one stream, as `covered_stretches` returns them.
        ends: Int64 ns; where windows end, exclusive.
        length: ns; how long they are.

    Returns:
        Boolean, null where an end is null.

    Example:
        >>> windows_covered(pl.DataFrame({"start_time": [0], "end_time": [10]}), pl.Series([5, 10, 11]), 5).to_list()
        [True, True, False]
    """
    starts, stops = covered["start_time"].to_numpy(), covered["end_time"].to_numpy()
    until = ends.fill_null(0).to_numpy()
    place = np.searchsorted(starts, until - length, side="right") - 1
    inside = place >= 0
    inside[inside] = stops[place[inside]] >= until[inside]
    return pl.select(pl.when(ends.is_not_null()).then(pl.Series(inside))).to_series().alias("valid")
