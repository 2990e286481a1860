"""Which source answers where several have a symbol and none was named.

For every symbol and UTC day the first source, in the order of priority, that has a bar on it gives all bars of that day, now or as
of a moment. So each bar is there once, and no day is a mixture of two vendors. `catalog.best_bars` is the same in SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import polars as pl

from gb_pipeline.catalog.best_bars import in_order
from gb_pipeline.errors import ReadError
from gb_pipeline.lake.adjustments import remembered_adjustments
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import EARLIEST, LATEST
from gb_pipeline.reading.plan import Part, Plan, Question, make_plan
from gb_pipeline.storage.table import Tables

_DAY = pl.col("timestamp").dt.date().alias("day")
_KEY = ["symbol", "day"]


def choose_sources(
    tables: Tables, question: Question, plan: Plan, priority: Callable[[], Sequence[str]], *, mixed: bool
) -> Plan:
    """The plan without the bars of sources that do not answer.

    Args:
        plan: of the question.
        priority: gives the names of sources, the one that is asked first at the beginning; called where it matters.
        mixed: whether one answer may hold prices of a symbol with different adjustments.

    Raises:
        ReadError: it would, and must not.
    """
    if question.source is not None or len({part.source for part in plan.parts}) < 2:
        return plan
    # Days are decided whole, whatever part of them is asked for.
    whole = make_plan(tables, replace(question, window=_whole_days(question.window)))
    days = _days(whole)
    contested = days.group_by("symbol").agg(pl.col("source").n_unique()).filter(pl.col("source") > 1)["symbol"]
    days = days.filter(pl.col("symbol").is_in(contested.implode()))
    if days.is_empty():
        return plan
    sources = in_order(days["source"].unique().to_list(), priority())
    ranked = days.with_columns(pl.col("source").cast(pl.Enum(sources))).sort("source", *_KEY)
    best = ranked.unique(_KEY, keep="first", maintain_order=True)
    if not mixed:
        _refuse_mixture(tables, question, best)
    lost = ranked.join(best, on=["source", *_KEY], how="anti").cast({"source": pl.String})
    parts = [_without(part, lost.filter(pl.col("source") == part.source)) for part in whole.parts]
    window = question.window
    inside = (pl.col("timestamp") >= window.start) & (pl.col("timestamp") < window.end)
    return replace(whole, parts=tuple(replace(part, content=part.rows.filter(inside)) for part in parts))


def _whole_days(window: Window) -> Window:
    """The window with all of its first and its last UTC day."""
    start, end = (datetime.combine(edge.date(), time(), UTC) for edge in (window.start, window.end))
    if window.end != end and window.end < LATEST - timedelta(days=1):
        end += timedelta(days=1)
    return Window(max(start, EARLIEST), max(end, window.end))


def _days(plan: Plan) -> pl.DataFrame:
    """`source, symbol, day`: the UTC days on which a source has a bar of a symbol that others may have as well."""
    named = [part.symbol for part in plan.parts if part.symbol is not None]
    queries = [
        part.rows.select(
            pl.lit(part.source).alias("source"),
            pl.col("symbol") if part.symbol is None else pl.lit(part.symbol).alias("symbol"),
            _DAY,
        ).unique()
        for part in plan.parts
        if part.symbol is None or named.count(part.symbol) > 1
    ]
    kinds = {"source": pl.String(), "symbol": pl.String(), "day": pl.Date()}
    return pl.concat([pl.DataFrame(schema=kinds), *pl.collect_all(queries)])


def _without(part: Part, lost: pl.DataFrame) -> Part:
    """The part without the days that another source gives."""
    if part.symbol is not None:
        days = lost.filter(pl.col("symbol") == part.symbol)["day"]
        return part if days.is_empty() else replace(part, content=part.rows.filter(~_DAY.is_in(days.implode())))
    if lost.is_empty():
        return part
    kept = part.rows.with_columns(_DAY).join(lost.lazy().select(_KEY), on=_KEY, how="anti").drop("day")
    return replace(part, content=kept)


def _refuse_mixture(tables: Tables, question: Question, best: pl.DataFrame) -> None:
    """Raise where prices of one symbol would be adjusted on some days and raw on others."""
    answers = best.select("symbol", pl.col("source").cast(pl.String)).unique()
    several = answers.filter(pl.len().over("symbol") > 1).sort("symbol", "source")
    kinds: dict[str, dict[str, str]] = {}
    for (source,), rows in several.partition_by("source", as_dict=True).items():
        codes = rows["symbol"].to_list()
        for code, kind in remembered_adjustments(tables, str(source), question.resolution, codes).items():
            kinds.setdefault(code, {})[str(source)] = kind.value
    for code, by_source in kinds.items():
        if len(set(by_source.values())) > 1:
            told = ", ".join(f"{kind} from {source}" for source, kind in by_source.items())
            raise ReadError(
                f"{code} {question.resolution} would be of several kinds of prices: {told}",
                fix=f"name one source: source={next(iter(by_source))!r}, or pass adjustment='split' or 'raw'",
            )
