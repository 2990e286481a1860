"""Longer bars, made of stored ones when they are read: which rows they need, whose calendar counts, and which are whole.

The arithmetic is that of `market.resample`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.catalog.best_bars import in_order
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resample import resample
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CORE, CORRECTABLE, OPTIONAL, Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import EARLIEST, LATEST
from gb_pipeline.reading.context import Context, collect_request
from gb_pipeline.reading.floats import as_floats
from gb_pipeline.reading.plan import check_columns, no_data_error
from gb_pipeline.reading.request import Request
from gb_pipeline.reading.settled import before, no_settled_error, settle_lags
from gb_pipeline.storage.numbers import decimals_of

# Sessions begin up to a day before their date and end up to a day after it.
_SESSION = timedelta(days=2)
_LENGTHS = {Resolution.DAY: timedelta(days=1), Resolution.WEEK: timedelta(days=7), Resolution.MONTH: timedelta(days=31)}
_STANDARD = Precision.STANDARD.decimal
_BAR = ["symbol", "timestamp"]
_OF_BARS = ("source", "symbol", *CORE, *OPTIONAL, "known_at")
# Who delivered it, and which columns are of one version of a stored bar.
_NOT_OF_LONGER_BARS = ("withdrawn", "fetched_at", "superseded_at")


def resampled_bars(
    context: Context, request: Request, to: Resolution, calendar: Calendar | str | None, *, as_float: bool
) -> pl.DataFrame:
    """The bars of a request, made longer; see `Lake.bars`.

    Raises:
        ConfigError: `to` is not longer than the bars, or a column that longer bars do not have.
        WindowRefused: rows that cannot be resampled.
        NoDataInRange: no bar opens in the range and has ended.
    """
    question = request.question
    window = question.window
    # Of one series that is named, no column says which it is: half a million times the same text.
    alone = question.source is not None and len(question.symbols) == 1
    columns = _needed_columns(request, alone=alone)
    needed = Request(replace(question, window=_needed(window, to)), columns, request.adjustment)
    # Sums of whole numbers take a fraction of what those of decimals do; a mean price needs products of 128 bits.
    in_units = columns is not None and "vwap" not in columns
    rows, precision = collect_request(context, needed, as_float=False, in_units=in_units)
    known = polars_schema(bar_schema(precision))
    schema = pl.Schema({name: kind for name, kind in known.items() if name not in _NOT_OF_LONGER_BARS})
    names = check_columns(request.columns, schema)
    now = question.as_of or context.clock()
    sources = [str(question.source)] if alone else rows["source"].unique().to_list()
    if alone:
        facts = _facts_by_name(context).get(str(question.source), SourceFacts(str(question.source)))
        made = [_make_longer(rows, question.resolution, to, facts, calendar, now)]
    else:
        made = [
            _make_longer(group, question.resolution, to, own, calendar, now)
            for own, group in _by_calendar(rows, _facts_by_name(context))
        ]
    frame = pl.concat(made).filter((pl.col("timestamp") >= window.start) & (pl.col("timestamp") < window.end))
    if alone:
        frame = frame.with_columns(source=pl.lit(question.source), symbol=pl.lit(question.symbols[0]))
    if request.settled_only and frame.height:
        # A longer bar is known since the last of its parts was.
        lags = settle_lags(context.tables, sources, context.facts(), now)
        frame = frame.filter(pl.col("known_at") <= instant_literal(before(now, max(lags.values()))))
        if frame.is_empty():
            raise no_settled_error(question)
    if frame.is_empty():
        raise no_data_error(context.tables, question)
    frame = frame.sort(_BAR).select(names)
    return as_floats(frame) if as_float else frame


def _needed_columns(request: Request, *, alone: bool) -> list[str] | None:
    """What the columns that were asked for are made of; None for all, and for names that are refused later on."""
    if request.columns is None or isinstance(request.columns, str):
        return None
    wanted = {
        *request.columns,
        *CORE,
        *(["known_at"] if request.settled_only else []),
        *([] if alone else ["source", "symbol"]),
    }
    if not wanted <= {*_OF_BARS}:
        return None
    return [name for name in _OF_BARS if name in wanted and not (alone and name in {"source", "symbol"})]


def _facts_by_name(context: Context) -> dict[str, SourceFacts]:
    return {source.name: source for source in context.facts()}


def _needed(window: Window, to: Resolution) -> Window:
    """What the bars that open in a window are made of lies in here."""
    length = _SESSION + _LENGTHS.get(to, timedelta(days=1))
    start = window.start if window.start - EARLIEST < length else window.start - length
    end = window.end if LATEST - window.end < length else window.end + length
    return Window(start, end)


def _by_calendar(rows: pl.DataFrame, by_name: Mapping[str, SourceFacts]) -> Iterator[tuple[SourceFacts, pl.DataFrame]]:
    """The rows of all symbols that share a calendar: that of the first source by priority which has bars of the symbol."""
    sources = in_order(rows["source"].unique().to_list(), list(by_name))
    owners = rows.group_by("symbol").agg(pl.col("source").cast(pl.Enum(sources)).min().cast(pl.String).alias("owner"))
    kinds: dict[SourceFacts, list[str]] = {}
    for symbol, owner in owners.sort("symbol").rows():
        kinds.setdefault(replace(by_name.get(owner, SourceFacts(owner)), name=""), []).append(symbol)
    for kind, symbols in kinds.items():
        yield kind, rows if len(kinds) == 1 else rows.filter(pl.col("symbol").is_in(symbols))


def _make_longer(
    rows: pl.DataFrame,
    finer: Resolution,
    to: Resolution,
    facts: SourceFacts,
    calendar: Calendar | str | None,
    now: datetime,
) -> pl.DataFrame:
    """Longer bars of some symbols, as far as they have ended; `source` names all that delivered a part of one."""
    given = get_calendar(calendar) if isinstance(calendar, str) else calendar
    trading = facts.trading_calendar if given is None else given
    units = _STANDARD if rows.schema["open"] == pl.Int64 else None
    bars = resample(
        rows.drop("source", strict=False), to, trading, alignment=facts.alignment, resolution=finer, units=units
    )
    if units is not None:
        bars = bars.with_columns(decimals_of(bars[name], units) for name in CORRECTABLE)
    if "source" not in rows.columns:
        pass
    elif rows["source"].n_unique() == 1:
        bars = bars.with_columns(source=pl.lit(rows["source"][0]))
    else:
        # Of a week, one source may have delivered some days and another the rest.
        parts = resample(rows, to, trading, alignment=facts.alignment, resolution=finer, units=units)
        names = parts.group_by(_BAR).agg(pl.col("source").unique().sort().str.join("+"))
        bars = bars.join(names, on=_BAR, how="left", maintain_order="left")
    return bars.filter(trading.bar_ends(bars["timestamp"], to) <= now).select(rows.columns)
