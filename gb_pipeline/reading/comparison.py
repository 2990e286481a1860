"""Two answers to one question, session by session: two sources of a series, or a source's intraday bars against its daily ones.

Bars are read, and put together to days by the sessions of the calendar; nothing is stored of it. Where one vendor adjusted its
prices and the other one did not, those of the other one are adjusted here first: a vendor's factors are compared with ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import NoDataInRange
from gb_pipeline.lake.adjustments import stored_adjustments
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.reading.arguments import Moment, moment
from gb_pipeline.reading.price_adjustment import PriceAdjustment, Reinvested
from gb_pipeline.reading.series import known_series, unknown_series_error

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

PRICES = ("open", "high", "low", "close")
_SIZES = (*PRICES, "volume")
_KEYS = ["symbol", "session"]
Between = tuple[Moment | None, Moment | None]
COMPARED = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), **dict.fromkeys(_SIZES, pl.Float64()), "agrees": pl.Boolean()}
)
# Vendors take closing auctions, odd lots and late trades into account in ways of their own.
PRICE_TOLERANCE, VOLUME_TOLERANCE = 0.001, 0.05


def reconcile(
    lake: Lake,
    sources: tuple[str, str],
    resolution: Resolution | str,
    symbols: Sequence[str] | str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    price_tolerance: float = PRICE_TOLERANCE,
    volume_tolerance: float = VOLUME_TOLERANCE,
) -> pl.DataFrame:
    """Sessions that two sources have of the same symbols, and by how much they differ.

    Args:
        sources: the two.
        resolution: of the bars that both have; those of a session are put together.
        symbols: all that both have by default.
        start, end: half-open range.
        price_tolerance, volume_tolerance: differences that are none, as shares of the first source's number.

    Returns:
        `symbol, session` (Date), `open, high, low, close, volume` (Float64: how far the second source is off, as a share of the
        first one's number; null where only that is 0), `agrees` (Boolean), sorted. Sessions that only one of them has are left out.

    Raises:
        UnknownSeries: a source that the lake does not know.
        ReadError: one side is adjusted by its vendor and the other one is not, and the corporate actions of this one are unknown.

    Example:
        >>> reconcile(lake, ("coinbase", "kraken"), "1d").filter(~pl.col("agrees"))
    """
    first, second = (_Side(source, Resolution.parse(str(resolution))) for source in sources)
    return _compare_sides(lake, first, second, symbols, (start, end), price_tolerance, volume_tolerance)


def roll_up(
    lake: Lake,
    source: str,
    resolution: Resolution | str,
    symbols: Sequence[str] | str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    daily_source: str | None = None,
    price_tolerance: float = PRICE_TOLERANCE,
    volume_tolerance: float = VOLUME_TOLERANCE,
) -> pl.DataFrame:
    """Whether the intraday bars of a source add up to daily ones.

    Args:
        resolution: of the intraday bars.
        daily_source: whose daily bars; those of the same source by default.
        symbols, start, end, price_tolerance, volume_tolerance: as for `reconcile`.

    Returns:
        As `reconcile`: how far the daily bar is off what the intraday bars add up to.

    Example:
        >>> roll_up(lake, "yahoo", "1m")["agrees"].all()
        True
    """
    intraday = _Side(source, Resolution.parse(str(resolution)))
    daily = _Side(daily_source or source, Resolution.DAY)
    return _compare_sides(lake, intraday, daily, symbols, (start, end), price_tolerance, volume_tolerance)


@dataclass(frozen=True)
class _Side:
    """Whose bars, of which resolution, are compared."""

    source: str
    resolution: Resolution


def _compare_sides(
    lake: Lake,
    first: _Side,
    second: _Side,
    symbols: Sequence[str] | str | None,
    between: Between,
    price_tolerance: float,
    volume_tolerance: float,
) -> pl.DataFrame:
    named = [symbols] if isinstance(symbols, str) else symbols
    tables = lake.store.tables
    adjustments = [stored_adjustments(tables, side.source, side.resolution) for side in (first, second)]
    for side, kinds in zip((first, second), adjustments, strict=True):
        if not kinds and side.source not in (known := known_series(tables))["source"]:
            raise unknown_series_error(known, None, side.resolution, side.source)
    both = [code for code in adjustments[0] if code in adjustments[1] and (named is None or code in named)]
    groups: dict[tuple[Adjustment, Adjustment], list[str]] = {}
    for code in sorted(both):
        groups.setdefault((adjustments[0][code], adjustments[1][code]), []).append(code)
    parts = [COMPARED.to_frame()]
    for (kind, its_kind), codes in groups.items():
        compared = []
        ways_of_both = _ways_to_adjust(kind, its_kind)
        # The side that its vendor adjusted is the same whichever way the other one is: it is read once.
        read = {
            (side, way): _by_session(lake, side, codes, between, way)
            for side, way in dict.fromkeys(
                pair for ways in ways_of_both for pair in zip((first, second), ways, strict=True)
            )
        }
        for ways in ways_of_both:
            mine, others = read[first, ways[0]], read[second, ways[1]]
            if kind is not its_kind and Adjustment.ALL in {kind, its_kind}:
                others = _anchored_like(mine, others)
            compared.append(_compare(mine, others, price_tolerance, volume_tolerance))
        # Vendors reinvest dividends in one of two ways: it counts which of them they may have meant.
        parts.append(max(compared, key=lambda rows: int(rows["agrees"].sum())))
    return pl.concat(parts).sort(_KEYS)


def _ways_to_adjust(kind: Adjustment, its_kind: Adjustment) -> list[tuple[PriceAdjustment | None, ...]]:
    """What may be done to the prices of both sides so that they can be compared; None leaves them as they are stored."""
    if kind is its_kind:
        return [(None, None)]
    if Adjustment.ALL not in {kind, its_kind}:
        # Splits that a vendor served late are in prices of this side only in part.
        return [(PriceAdjustment(), PriceAdjustment())]
    return [
        tuple(None if each is Adjustment.ALL else PriceAdjustment(dividends=price) for each in (kind, its_kind))
        for price in Reinvested
    ]


def _anchored_like(first: pl.DataFrame, second: pl.DataFrame) -> pl.DataFrame:
    """Prices of the second side, which agree with the first in the last session that both have.

    A vendor's total return is counted from the day on which it was served, ours from the newest dividend that is known.
    """
    last = pl.col("session") == pl.col("session").max().over("symbol")
    closes = first.join(second, on=_KEYS, how="inner", suffix="_other").filter(last)
    ratios = closes.select("symbol", ratio=pl.col("close") / pl.col("close_other"))
    scaled = second.join(ratios, on="symbol", how="left", maintain_order="left")
    return scaled.with_columns(pl.col(PRICES) * pl.col("ratio")).drop("ratio")


def _by_session(
    lake: Lake,
    side: _Side,
    symbols: Sequence[str],
    between: Between,
    adjustment: PriceAdjustment | None,
) -> pl.DataFrame:
    """One row per symbol and session; none where there are no bars. A month of intraday bars is read at once."""
    columns = ["symbol", "timestamp", *_SIZES]
    intraday = side.resolution.intraday
    parts = [pl.DataFrame(schema={"symbol": pl.String(), "session": pl.Date(), **dict.fromkeys(_SIZES, pl.Float64())})]
    for begin, stop in _cut_by_months(lake, between) if intraday else [between]:
        try:
            bars = lake.bars(
                symbols, side.resolution, begin, stop, source=side.source, columns=columns, as_float=True,
                adjustment=adjustment, resample=Resolution.DAY if intraday else None,
            )  # fmt: skip
        except NoDataInRange:
            continue
        parts.append(bars.select("symbol", pl.col("timestamp").dt.date().alias("session"), *_SIZES))
    return pl.concat(parts)


def _cut_by_months(lake: Lake, between: Between) -> list[Between]:
    """A range in pieces that end where months do; as it is where an end is open, nothing where it is empty."""
    first, last = (moment(edge, lake.store.clock) for edge in between)
    if first is None or last is None:
        return [between]
    if first >= last:
        return []
    months = pl.datetime_range(first, last, "1mo", time_zone="UTC", eager=True).dt.truncate("1mo")
    return list(pairwise([first, *(edge for edge in months if first < edge < last), last]))


def _compare(
    first: pl.DataFrame, second: pl.DataFrame, price_tolerance: float, volume_tolerance: float
) -> pl.DataFrame:
    both = first.join(second, on=_KEYS, how="inner", suffix="_other")
    off = {name: (pl.col(f"{name}_other") - pl.col(name)) / pl.col(name).abs() for name in _SIZES}
    tolerances = {**dict.fromkeys(PRICES, price_tolerance), "volume": volume_tolerance}
    within = [
        pl.when(pl.col(name) == 0).then(pl.col(f"{name}_other") == 0).otherwise(off[name].abs() <= tolerances[name])
        for name in _SIZES
    ]
    same = [pl.col(name) == pl.col(f"{name}_other") for name in _SIZES]
    numbers = [
        pl.when(alike).then(0.0).when(pl.col(name) != 0).then(off[name]).alias(name)
        for name, alike in zip(_SIZES, same, strict=True)
    ]
    return both.select(*_KEYS, *numbers, pl.all_horizontal(within).alias("agrees")).sort(_KEYS)
