"""Which bars are settled: known without a change for longer than their source was seen to restate bars.

The lag of a source is learned from its own restatements of the last year, and has a floor, `settle_days` of gb.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import NoDataInRange
from gb_pipeline.lake import overrides
from gb_pipeline.lake.version_rows import by_resolution
from gb_pipeline.lake.versions import restatements
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import EARLIEST, Selection
from gb_pipeline.reading.ledgers import require_known
from gb_pipeline.reading.plan import Plan, Question, make_plan
from gb_pipeline.reading.series import stored_series
from gb_pipeline.storage.table import Tables

_MEMORY = timedelta(days=365)
_STAMP = pl.Datetime("us", "UTC")
SETTLED = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "resolution"), pl.String()),
        "settled_until": _STAMP,
        "provisional": pl.Int64(),
        "lag": pl.Duration("us"),
    }
)


def settle_lags(
    tables: Tables, sources: Iterable[str], facts: Sequence[SourceFacts], now: datetime
) -> dict[str, timedelta]:
    """How long bars of each source stay provisional, as could be known at `now`.

    It is the longest time from when a bar became known to one of its restatements, of those in the year before, or the floor.
    """
    floors = {fact.name: fact.settle_days for fact in facts}
    lags = {}
    for source in sources:
        floor = timedelta(days=floors.get(source, SourceFacts(source).settle_days))
        changes = overrides.leave_out_corrections(tables, restatements(tables, source), source).filter(
            pl.col("replaced_at") <= instant_literal(now), pl.col("replaced_at") > instant_literal(before(now, _MEMORY))
        )
        longest = changes.select(pl.col("age").max()).item()
        lags[source] = max(floor, timedelta(microseconds=longest or 0))
    return lags


def before(moment: datetime, distance: timedelta) -> datetime:
    """So long before a moment, as far back as moments go."""
    return moment - min(distance, moment - EARLIEST)


def without_provisional(
    tables: Tables, question: Question, plan: Plan, facts: Sequence[SourceFacts], now: datetime
) -> Plan:
    """The plan with nothing but settled bars."""
    moment = question.as_of or now
    lags = settle_lags(tables, {part.source for part in plan.parts}, facts, moment)
    parts = [
        replace(
            part, content=part.rows.filter(pl.col("known_at") <= instant_literal(before(moment, lags[part.source])))
        )
        for part in plan.parts
    ]
    return replace(plan, parts=tuple(parts))


def no_settled_error(question: Question) -> NoDataInRange:
    """The error for a range of which every bar is provisional."""
    names = ", ".join(question.symbols[:5]) or question.source or "any source"
    return NoDataInRange(
        f"no bar of {names} {question.resolution} in this range is settled",
        fix="leave settled_only out, or see with `Lake.settled` until when bars are",
    )


def settled_series(tables: Tables, selection: Selection, facts: Sequence[SourceFacts], now: datetime) -> pl.DataFrame:
    """See `Lake.settled`."""
    tables, moment = tables.view(), selection.as_of or now
    lags: dict[str, timedelta] = {}
    rows = [pl.DataFrame(schema=SETTLED)]
    for resolution, _ in by_resolution(tables, selection.resolution):
        series = stored_series(tables, resolution, selection.symbols, selection.source, selection.as_of)
        if series.is_empty():
            continue
        unknown = sorted(set(series["source"].unique()) - set(lags))
        lags |= settle_lags(tables, unknown, facts, moment)
        symbols = tuple(series["symbol"].unique().sort()) if selection.symbols is not None else ()
        question = Question(symbols, resolution, selection.window, selection.source, selection.as_of)
        plan = make_plan(tables, question)
        parts = pl.collect_all(
            [_measure(part.rows, part.symbol, before(moment, lags[part.source])) for part in plan.parts]
        )
        rows += [
            _name(frame, part.source, resolution, lags[part.source])
            for part, frame in zip(plan.parts, parts, strict=True)
        ]
    return require_known(tables, pl.concat(rows).sort("source", "resolution", "symbol"), selection)


def _measure(rows: pl.LazyFrame, symbol: str | None, limit: datetime) -> pl.LazyFrame:
    """`symbol`, `last`, `first` (provisional bar) and `provisional`, how many are."""
    if symbol is not None:
        rows = rows.with_columns(pl.lit(symbol).alias("symbol"))
    is_provisional = pl.col("known_at") > instant_literal(limit)
    return rows.group_by("symbol").agg(
        pl.col("timestamp").max().alias("last"),
        pl.col("timestamp").filter(is_provisional).min().alias("first"),
        is_provisional.sum().cast(pl.Int64).alias("provisional"),
    )


def _name(frame: pl.DataFrame, source: str, resolution: Resolution, lag: timedelta) -> pl.DataFrame:
    end = pl.col("last").dt.offset_by(resolution.value)
    return frame.select(
        pl.lit(source).alias("source"),
        "symbol",
        pl.lit(resolution.value).alias("resolution"),
        pl.coalesce("first", end).alias("settled_until"),
        "provisional",
        pl.lit(lag, pl.Duration("us")).alias("lag"),
    ).cast(SETTLED)
