"""This module makes coarser bars out of finer ones, exactly, and refuses rows that it could only get wrong.

Where bars start is known to `calendar`; whether the rows are right is checked in `quality`.
"""

from __future__ import annotations

from decimal import Context, Decimal

import polars as pl

from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.market import grid
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.runs_of_bars import aggregate_runs, lines_of_the_clock
from gb_pipeline.market.schema import CORE, OPTIONAL, PRICES

_KEYS = ("source", "symbol")
_VERSION_COLUMNS = ("withdrawn", "fetched_at", "superseded_at", "period")
_ORDER = list(Resolution)
# Polars adds 128-bit integers without looking whether they still fit. Below this (the largest is 1.7e38) they surely do,
# and every decimal of 38 digits lies below it.
_SUM_LIMIT = 1.001e38
_SUM_LIMIT_64 = 9e18
_EXACT = Context(prec=80)


def resample(
    frame: pl.DataFrame,
    to: Resolution,
    calendar: Calendar,
    *,
    alignment: str = grid.CLOCK,
    resolution: Resolution | None = None,
    units: pl.Decimal | None = None,
) -> pl.DataFrame:
    """Aggregate finer bars to a coarser resolution.

    Args:
        frame: bars in any order: `timestamp` (Datetime with a zone), `open`, `high`, `low`, `close`, `volume` (Decimal),
            optionally `source` and `symbol` (each combination is a series of its own), `trade_count` (integer), `vwap`
            (Decimal) and `known_at`. What else is known of the version of a bar (`withdrawn`, `fetched_at`, `superseded_at`,
            `period`) is left out of the result: a coarser bar is made of several.
        to: the resolution wanted, up to weeks and months.
        calendar: decides sessions, weeks and months, and which rows lie in trading hours.
        alignment: where the wanted intraday bars start, `clock` or `session`; see `Calendar.expected`.
        resolution: of the rows. By default the coarsest one whose grid holds every stamp; say it where the rows are so
            sparse that they could be taken for longer bars.
        units: prices and volumes are counts (Int64) of the last digit of this decimal, and stay so; `vwap` is not among them.

    Returns:
        The same columns and types, `timestamp` in microseconds UTC, sorted by source, symbol and timestamp. `open` is the
        first, `high` the highest, `low` the lowest, `close` the last, `volume` and `trade_count` the sum (`trade_count`
        null where any is null), `known_at` the latest. `vwap` is weighted by volume and rounded down to the column's
        scale; null where a row that traded has none, and where the volume is 0. No bar where there are no rows.

    Raises:
        WindowRefused: missing, unknown or wrongly typed columns; nulls in what may not be null; a stamp twice in one
            series; rows outside trading hours or off the grid, or reaching over the end of a coarser bar (with their
            number and the first); a sum that does not fit into its type.
        NaiveTimestamp: timestamps without a zone.
        ConfigError: `to` is not coarser than the rows, or weeks are to become months.

    Example:
        >>> import polars as pl
        >>> from datetime import UTC, datetime
        >>> from gb_pipeline.market.calendar import get_calendar
        >>> stamps = [datetime(2024, 1, 2, 9, minute, tzinfo=UTC) for minute in (0, 1, 59)]
        >>> frame = pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close", "volume"), 1)})
        >>> frame = frame.with_columns(pl.col(pl.Int32, pl.Int64).cast(pl.Decimal(18, 8)))
        >>> resample(frame, Resolution.HOUR, get_calendar("24/7"))["volume"].to_list()
        [Decimal('3.00000000')]
    """
    grid.check_alignment(alignment)
    if to in {Resolution.TICK, Resolution.SECOND}:
        raise ConfigError(f"nothing is finer than {to}", fix="resample to 1m or coarser")
    if resolution is not None:
        _refuse_step(resolution, to)
    keys = [key for key in _KEYS if key in frame.columns]
    rows = _validated(frame, pl.Int64 if units is not None else pl.Decimal)
    if rows.is_empty():
        return rows
    if keys or not _is_increasing(rows["timestamp"]):
        rows = rows.sort(*keys, "timestamp")
        _refuse_duplicates(rows, keys)
    finer = resolution or _guess_resolution(rows["timestamp"], to, calendar)
    _refuse_step(finer, to)
    if finer is Resolution.DAY:
        off_calendar = (rows["timestamp"].dt.truncate("1d") != rows["timestamp"]) | ~calendar.in_hours(
            rows["timestamp"], finer
        )
        _refuse(
            rows,
            off_calendar,
            f"are not sessions of {calendar.name}",
            "check the calendar; days are stamped at 00:00 UTC",
        )
        bars = _period_stamps(rows["timestamp"].dt.date(), to)
    else:
        bars = _coarse_stamps(rows, finer, to, calendar, alignment)
    rows = rows.with_columns(timestamp=bars)
    if units is None:
        return _aggregate(rows, keys)
    return _with_exact_types(aggregate_runs(rows, keys), rows.schema, units).select(rows.columns)


def _refuse_step(finer: Resolution, to: Resolution) -> None:
    if _ORDER.index(finer) >= _ORDER.index(to) or finer is Resolution.TICK:
        raise ConfigError(f"bars of {finer} cannot become bars of {to}", fix=f"resample something finer than {to}")
    if finer is Resolution.WEEK:
        raise ConfigError(
            "a week may lie in two months: bars of 1w cannot become bars of 1mo",
            fix="resample days; if these are days, pass resolution=Resolution.DAY",
        )


def _is_increasing(stamps: pl.Series) -> bool:
    micro = stamps.cast(pl.Int64).to_numpy()
    return bool((micro[1:] > micro[:-1]).all())


def _validated(frame: pl.DataFrame, number: type[pl.DataType]) -> pl.DataFrame:
    frame = frame.drop(_VERSION_COLUMNS, strict=False)
    missing = [name for name in CORE if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in {*_KEYS, *CORE, *OPTIONAL, "known_at"}]
    decimals = [name for name in (*PRICES, "volume", "vwap") if name in frame.columns]
    if missing or unknown:
        raise WindowRefused(
            f"columns of the bars to resample: {missing or 'none'} missing, {unknown or 'none'} unknown",
            fix="select the columns of a bar",
        )
    wrong_types = {name: str(frame.schema[name]) for name in decimals if frame.schema[name] != number}
    if "trade_count" in frame.columns and not frame.schema["trade_count"].is_integer():
        wrong_types["trade_count"] = str(frame.schema["trade_count"])
    if wrong_types:
        raise WindowRefused(f"columns of the wrong type: {wrong_types}", fix="cast prices to Decimal, counts to Int64")
    nulls = [name for name in frame.columns if name not in OPTIONAL and frame[name].null_count()]
    if nulls:
        raise WindowRefused(f"nulls in {nulls}", fix="quarantine such rows before resampling")
    instants = {name: grid.to_utc(frame[name]) for name in ("timestamp", "known_at") if name in frame.columns}
    return frame.with_columns(**instants)


def _refuse(rows: pl.DataFrame, refused: pl.Series, problem: str, fix: str) -> None:
    count = refused.sum()
    if count:
        first = rows.filter(refused).row(0, named=True)
        name = " ".join(str(first[key]) for key in _KEYS if key in first)
        raise WindowRefused(
            f"{count} of {rows.height} rows {problem}; the first is {name} {first['timestamp'].isoformat()}", fix=fix
        )


def _refuse_duplicates(rows: pl.DataFrame, keys: list[str]) -> None:
    is_repeat = pl.all_horizontal(pl.col(*keys, "timestamp") == pl.col(*keys, "timestamp").shift(1))
    repeated = rows.select(is_repeat.fill_null(False)).to_series()
    _refuse(rows, repeated, "repeat the stamp of another row", "remove the duplicates")


def _guess_resolution(stamps: pl.Series, to: Resolution, calendar: Calendar) -> Resolution:
    """The coarsest resolution finer than `to` on whose grid all stamps lie, on either alignment; 1s if on none."""
    finer = [item for item in reversed(_ORDER) if _ORDER.index(item) < _ORDER.index(to)]
    if Resolution.DAY in finer and (stamps.dt.truncate("1d") == stamps).all():
        weeks = Resolution.WEEK in finer and len(stamps) > 1 and (stamps.dt.weekday() == 1).all()
        return Resolution.WEEK if weeks else Resolution.DAY
    on_clock = stamps.to_frame("at").select(grid.clock_time(pl.col("at"), calendar.zone)).to_series().unique()
    in_segment = (stamps - calendar.segment_begins(stamps)).unique()
    for item in finer:
        if item.intraday and (_on_grid(on_clock, item) or _on_grid(in_segment, item)):
            return item
    return Resolution.SECOND


def _on_grid(offsets: pl.Series, resolution: Resolution) -> bool:
    length = int(grid.bar_length(resolution).total_seconds()) * 1_000_000
    return bool((offsets.to_physical() % length == 0).fill_null(False).all())


def _coarse_stamps(
    rows: pl.DataFrame, finer: Resolution, to: Resolution, calendar: Calendar, alignment: str
) -> pl.Series:
    """The stamp of the coarser bar that each intraday row belongs to, by the part of it in which the market trades."""
    stamps = rows["timestamp"]
    if calendar.first is None and calendar.zone.key == "UTC" and to.intraday:
        # A day holds a whole number of longer bars, so that both alignments are lines of the clock.
        length, own = (int(grid.bar_length(item).total_seconds()) * 1_000_000 for item in (to, finer))
        lines, fit = lines_of_the_clock(stamps, length, own)
        if fit:
            return lines
    by_session = _on_grid(stamps - calendar.segment_begins(stamps), finer)
    span = calendar.trading_span(stamps, finer, grid.SESSION if by_session else grid.CLOCK)
    _refuse(
        rows,
        span["first"].is_null(),
        f"of {finer} lie outside the trading hours of {calendar.name}",
        "leave them out, pass `resolution` if these are longer bars, or use a calendar with extended hours",
    )
    bars = _bar_stamps(span["first"], to, calendar, alignment)
    _refuse(
        rows,
        bars != _bar_stamps(span["last"], to, calendar, alignment),
        f"of {finer} reach over the end of a bar of {to} (alignment {alignment})",
        "use the other alignment or finer bars; pass `resolution` if these rows are finer than they look",
    )
    return bars


def _bar_stamps(instants: pl.Series, to: Resolution, calendar: Calendar, alignment: str) -> pl.Series:
    if not to.intraday:
        return _period_stamps(calendar.session_of(instants, Resolution.TICK), to)
    if alignment == grid.SESSION:
        since_line = (instants - calendar.segment_begins(instants)).to_physical() % int(
            grid.bar_length(to).total_seconds() * 1e6
        )
        return instants - since_line.cast(pl.Duration("us"))
    since_clock_line = grid.past_clock_line(pl.col("at"), calendar.zone, to)
    return instants.to_frame("at").select(pl.col("at") - since_clock_line).to_series()


def _period_stamps(sessions: pl.Series, to: Resolution) -> pl.Series:
    return sessions.dt.truncate(grid.period_of(to)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _aggregate(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    by = [*keys, "timestamp"]
    volume = pl.col("volume")
    sums = {
        "open": pl.col("open").first(),
        "high": pl.col("high").max(),
        "low": pl.col("low").min(),
        "close": pl.col("close").last(),
        "volume": volume.sum(),
        "_size": volume.cast(pl.Float64).abs().sum(),
    }
    if "trade_count" in rows.columns:
        count = pl.col("trade_count")
        sums["trade_count"] = pl.when(count.null_count() == 0).then(count.cast(pl.Int128).sum())
    if "known_at" in rows.columns:
        sums["known_at"] = pl.col("known_at").max()
    bars = rows.group_by(by, maintain_order=True).agg(**sums)
    bars = _with_exact_types(bars, rows.schema)
    if "vwap" in rows.columns:
        bars = bars.with_columns(_vwap(rows, by))
    return bars.select(rows.columns).sort(by)


def _with_exact_types(bars: pl.DataFrame, schema: pl.Schema, counted: pl.Decimal | None = None) -> pl.DataFrame:
    """Bring sums back to their column's type, refusing what does not fit: Polars itself wraps around at 128 bits."""
    dtype = schema["volume"] if counted is None else counted
    assert isinstance(dtype, pl.Decimal)
    largest = pl.Series([10**dtype.precision - 1], dtype=pl.Int128)
    # Where the float sum says that 128 bits suffice, the integer sum is exact and can be compared.
    too_big = bars["_size"] >= (_SUM_LIMIT / 10.0**dtype.scale if counted is None else _SUM_LIMIT_64)
    units = bars["volume"].to_physical().cast(pl.Int128)
    too_big |= (units > largest) | (units < pl.Series([1 - 10**dtype.precision], dtype=pl.Int128))
    _refuse(bars, too_big, f"have a volume that does not fit into {dtype}", "store this source with `precision: wide`")
    columns = [pl.col("volume").cast(schema["volume"])]
    if "trade_count" in bars.columns:
        count_type = schema["trade_count"]
        fits = bars["trade_count"].cast(count_type, strict=False).is_null() == bars["trade_count"].is_null()
        _refuse(bars, ~fits, f"have a trade_count that does not fit into {count_type}", "widen the column")
        columns.append(pl.col("trade_count").cast(count_type))
    return bars.with_columns(columns)


def _vwap(rows: pl.DataFrame, by: list[str]) -> pl.Series:
    """Sum of vwap x volume over sum of volume, rounded down; in integers, because the products need twice the digits."""
    dtype = rows.schema["vwap"]
    assert isinstance(dtype, pl.Decimal)
    factors = rows.select(
        *by,
        price=pl.col("vwap").to_physical().cast(pl.Int128),
        size=pl.col("volume").to_physical().cast(pl.Int128),
    )
    traded = pl.col("size") != 0
    has_price = pl.col("price").is_not_null() | ~traded
    magnitude = (pl.col("price").cast(pl.Float64) * pl.col("size").cast(pl.Float64)).abs()
    groups = factors.group_by(by, maintain_order=True)
    totals = groups.agg(complete=has_price.all(), magnitude=magnitude.sum(), size=pl.col("size").sum())
    if (totals["magnitude"] < _SUM_LIMIT).all():
        products = groups.agg(product=(pl.col("price") * pl.col("size")).sum())["product"].to_list()
    else:
        pairs = groups.agg(pl.col("price", "size")).select("price", "size").iter_rows()
        products = [
            sum((price or 0) * size for price, size in zip(prices, sizes, strict=True)) for prices, sizes in pairs
        ]
    values = [
        _EXACT.scaleb(Decimal(product // size), -dtype.scale) if complete and size > 0 else None
        for product, size, complete in zip(products, totals["size"], totals["complete"], strict=True)
    ]
    return pl.Series("vwap", values, dtype=dtype)
