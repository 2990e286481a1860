"""This module stores any frame of bars that a user has: from Polars, pandas or Arrow, in the user's own types.

It only brings the frame into the form that `LakeStore.write_bars` validates and stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError, NaiveTimestamp, WindowRefused
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import OPTIONAL, PRICES, Adjustment, Precision
from gb_pipeline.market.symbol import Symbol, symbol_code
from gb_pipeline.market.window import Window, as_window, instant
from gb_pipeline.quality.rules import Alignment, BarRules, GapPolicy

# What users call the column of the bars' opens, in the order in which they are looked for.
_TIMES = ("timestamp", "datetime", "date", "time")
_NUMBERS = (*PRICES, "volume", *OPTIONAL)
_WORDS: Mapping[str, type[StrEnum]] = {
    "alignment": Alignment,
    "precision": Precision,
    "gap_policy": GapPolicy,
    "adjustment": Adjustment,
}


def put(
    store: LakeStore,
    frame: object,
    *,
    source: str,
    resolution: Resolution | str,
    symbol: Symbol | str | None = None,
    calendar: Calendar | str = "24/7",
    window: Window | tuple[Any, Any] | None = None,
    decimals: int | None = None,
    **rules: Any,
) -> WriteReport:
    """See `Lake.put`."""
    kind = Resolution.parse(resolution)
    trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
    bar_rules = BarRules(resolution=kind, calendar=trading, **read_rules(rules))
    rows = _received(frame, kind, symbol, decimals)
    if rows.is_empty():
        raise WindowRefused("the frame has no row", fix="pass at least one bar")
    written = [
        store.write_bars(source, codes, kind, span, rows.filter(pl.col("symbol").is_in(codes)), rules=bar_rules)
        for span, codes in _windows(rows, bar_rules, None if window is None else as_window(window))
    ]
    return reduce(_join, written)


def read_rules(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of `BarRules`; those that are one of a few words may be given as text.

    Raises:
        ConfigError: there is no such rule, or no such word.
    """
    known = [name for name in BarRules.__dataclass_fields__ if name not in {"resolution", "calendar"}]
    read = {}
    for name, value in rules.items():
        if name not in known:
            raise ConfigError(f"there is no rule {name!r:.40}", fix=f"choose from {', '.join(known)}")
        words = _WORDS.get(name)
        if words is not None and value not in list(words):
            raise ConfigError(f"{value!r:.40} is not a value of {name}", fix=f"use {' or '.join(words)}")
        read[name] = value if words is None else words(value)
    return read


def _windows(rows: pl.DataFrame, rules: BarRules, window: Window | None) -> Iterable[tuple[Window, list[str]]]:
    """The stretch of each symbol, from the session of its first bar to that of its last; symbols with the same one together."""
    if window is not None:
        return [(window, rows["symbol"].unique().sort().to_list())]
    stamps = rows.group_by("symbol").agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max()).drop_nulls()
    spans: dict[Window, list[str]] = {}
    for code, first, last in stamps.sort("symbol").rows():
        spans.setdefault(bar_span(first, last, rules), []).append(code)
    return spans.items()


def bar_span(first: datetime, last: datetime, rules: BarRules) -> Window:
    """The window from the open of the first bar to the end of the last one; whole days, where bars are such."""
    length = rules.resolution.duration
    if rules.resolution.intraday and length is not None:
        return Window(first, last + length)
    # A stamp off midnight is refused; its day is described all the same.
    return Window(instant(first.date()), instant(last.date()) + timedelta(days=1))


def _received(frame: object, resolution: Resolution, symbol: Symbol | str | None, decimals: int | None) -> pl.DataFrame:
    """Columns of `market.schema.RECEIVED`, those of `OPTIONAL` that there are, and `symbol`."""
    rows = as_polars(frame)
    names: dict[str, str] = {}
    for name in rows.columns:
        lower = name.strip().lower().replace(" ", "_")
        if lower in names:
            raise WindowRefused(f"columns {names[lower]!r} and {name!r} are the same", fix="leave one of them out")
        names[lower] = name
    time = next((name for name in _TIMES if name in names), None)
    missing = [name for name in (*PRICES, "volume") if name not in names]
    if time is None or missing:
        wanted = ", ".join([*missing, *(["timestamp"] if time is None else [])])
        raise WindowRefused(
            f"the frame has no column {wanted}; there is {', '.join(rows.columns)[:200]}",
            fix="name the columns timestamp (or an index of times), open, high, low, close, volume, and symbol for several",
        )
    numbers = [name for name in _NUMBERS if name in names]
    columns = [
        _timestamps(rows[names[time]], resolution),
        *(_numbers(rows[names[name]].alias(name), decimals) for name in numbers),
        _symbols(rows, names.get("symbol"), symbol),
    ]
    return pl.DataFrame(columns)


def as_polars(frame: object) -> pl.DataFrame:
    """A frame of Polars; an index of pandas becomes columns."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if frame is None:
        raise _not_a_frame(frame, "it is nothing")
    try:
        if type(frame).__module__.split(".")[0] == "pandas":
            return _of_pandas(frame)
        converted = pl.from_arrow(frame)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise _not_a_frame(frame, str(error).split("\n", 1)[0]) from None
    if not isinstance(converted, pl.DataFrame):
        raise _not_a_frame(frame, "it is a column")
    return converted


def _of_pandas(frame: Any) -> pl.DataFrame:
    if not hasattr(frame, "columns"):
        raise _not_a_frame(frame, "it is a column")
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise _not_a_frame(frame, "its columns have several levels")
    index = frame.index
    if type(index).__name__ == "DatetimeIndex" and index.name is None:
        frame = frame.rename_axis("timestamp")
    keep = type(index).__name__ != "RangeIndex"
    return pl.from_pandas(frame.reset_index() if keep else frame)


def _not_a_frame(frame: object, reason: str) -> WindowRefused:
    return WindowRefused(
        f"a {type(frame).__name__} cannot be read as a frame of bars: {reason[:200]}",
        fix="pass a frame of Polars, pandas or Arrow with one level of columns",
    )


def _timestamps(series: pl.Series, resolution: Resolution) -> pl.Series:
    """The bars' opens in UTC."""
    kind = series.dtype
    if isinstance(kind, pl.String):
        try:
            parsed = series.str.to_datetime(time_unit="us", strict=True) if resolution.intraday else None
            series = series.str.to_date(strict=True) if parsed is None else parsed
        except pl.exceptions.PolarsError:
            raise WindowRefused(
                f"column {series.name!r} is text that is not read here",
                fix="parse it to datetimes with a zone, or dates",
            ) from None
        kind = series.dtype
    if isinstance(kind, pl.Date) and not resolution.intraday:
        return series.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp")
    if not isinstance(kind, pl.Datetime):
        raise WindowRefused(
            f"column {series.name!r} holds {kind}, not times",
            fix="pass datetimes with a zone, or dates for bars of a day",
        )
    if kind.time_unit == "ns" and (series.dt.nanosecond() % 1000 != 0).any():
        raise WindowRefused(
            f"column {series.name!r} is finer than a microsecond", fix="round it: bars begin on whole microseconds"
        )
    exact = series.dt.cast_time_unit("us")
    if kind.time_zone is not None:
        return exact.dt.convert_time_zone("UTC").alias("timestamp")
    if not resolution.intraday and (exact == exact.dt.truncate("1d")).all():
        # A date, by frames that have no type for one.
        return exact.dt.replace_time_zone("UTC").alias("timestamp")
    raise NaiveTimestamp(
        f"column {series.name!r} has times without a zone",
        fix='add it: .dt.replace_time_zone("UTC"), or tz_localize in pandas',
    )


def _numbers(series: pl.Series, decimals: int | None) -> pl.Series:
    """Numbers in a type that is exact: floats become the shortest text that reads back as the same float."""
    kind = series.dtype
    if kind.is_float():
        known = series.fill_nan(None)
        whole = known.is_null() | (known.round() == known)
        if series.name == "trade_count" and whole.all():
            counts = known.cast(pl.Int64, strict=False)
            if counts.null_count() == known.null_count():
                return counts
        floats = series if decimals is None else series.cast(pl.Float64).round(decimals)
        return floats.fill_nan(None).cast(pl.String)
    return series


def _symbols(rows: pl.DataFrame, column: str | None, symbol: Symbol | str | None) -> pl.Series:
    given = None if column is None else _texts(rows[column])
    if given is not None and given.null_count():
        row = int(given.is_null().arg_max() or 0)
        raise WindowRefused(
            f"{given.null_count():,} of {len(given):,} rows have no symbol, the first is row {row:,} from 0",
            fix="fill the column `symbol`, or leave it out where `symbol=` names it",
        )
    if given is not None and symbol is None:
        codes = {text: symbol_code(text) for text in given.unique()}
        return given.replace_strict(codes, return_dtype=pl.String).alias("symbol")
    if symbol is None:
        raise ConfigError("of which symbol the bars are is not said", fix='pass symbol="AAPL", or a column `symbol`')
    code = symbol_code(symbol)
    if given is not None and not (given == code).all():
        raise ConfigError(f"the frame has a column of symbols, not all of them {code}", fix="leave `symbol` out")
    return pl.repeat(code, rows.height, dtype=pl.String, eager=True).alias("symbol")


def _texts(series: pl.Series) -> pl.Series:
    try:
        return series.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise WindowRefused(
            f"column {series.name!r} holds {series.dtype}, not text", fix="pass the codes as text"
        ) from error


def _join(first: WriteReport, second: WriteReport) -> WriteReport:
    """One report of two writes of the same source and resolution."""
    sums = ("restated", "withdrawn", "bytes", "late")
    return replace(
        first,
        window=Window(min(first.window.start, second.window.start), max(first.window.end, second.window.end)),
        sessions_frame=pl.concat([first.sessions_frame, second.sessions_frame]),
        # Each symbol is in one of them.
        counts={**first.counts, **second.counts},
        unplaced={**first.unplaced, **second.unplaced},
        refused=pl.concat([first.refused, second.refused]),
        version=first.version if second.version is None else second.version,
        **{name: getattr(first, name) + getattr(second, name) for name in sums},
    )
