"""One series of prices from a chain of futures: which contract each bar is of, and what the gap at a roll does to prices.

When to roll is in `rolls`. Stored bars are never changed: this is a view, computed when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

import polars as pl

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.market.adjust import factor_columns, rescale, within_digits
from gb_pipeline.market.rolls import check_rolls
from gb_pipeline.market.schema import PRICES

_PRICES = (*PRICES, "vwap")


class Join(StrEnum):
    """What happens to prices where one contract follows another."""

    NONE = "none"
    """Nothing: the gap between the contracts is in the prices."""
    RATIO = "ratio"
    """They are multiplied, so that returns are those of who rolls."""
    DIFFERENCE = "difference"
    """They are shifted, so that differences are (Panama)."""


def continuous(
    bars: pl.DataFrame,
    rolls: pl.DataFrame,
    contracts: Sequence[str],
    *,
    join: Join | str = Join.NONE,
    anchor: str = "end",
    depth: int = 0,
) -> pl.DataFrame:
    """The bars of the front contract, or of one behind it, as one series.

    At a roll the closes of both contracts in the last session before it are compared.

    Args:
        bars: of the contracts: `symbol`, `timestamp`, `session` (Date), and prices as decimals, `close` among them.
        rolls: `session, from_symbol, to_symbol`, as `make_rolls` returns it, or a table of your own.
        contracts: the whole chain, in the order of expiry.
        join: `none`, `ratio` or `difference`.
        anchor: `end` leaves the newest contract's prices as traded, `start` the first one's.
        depth: 0 for the front contract, 1 for the one behind it, and so on.

    Returns:
        The columns of `bars`, sorted by timestamp; `symbol` says of which contract a bar is. Volumes are as traded. Prices are
        exact where their decimals hold the result, else rounded half to even.

    Raises:
        ConfigError: an unknown join or anchor, or a table of rolls that tears.
        ReadError: two contracts have no session in common before a roll, or a price that no ratio can be made of.

    Example:
        >>> continuous(bars, make_rolls(contracts, sessions, "calendar"), ["ESZ13", "ESH14"], join="ratio")
    """
    if join not in {kind.value for kind in Join} or anchor not in {"end", "start"}:
        raise ConfigError(
            f"join={join!r:.20}, anchor={anchor!r:.20} is unknown", fix="use none, ratio or difference; end or start"
        )
    if depth < 0:
        raise ConfigError(f"a depth of {depth}", fix="use 0 for the front contract, 1 for the one behind it")
    table = check_rolls(rolls)
    places = {code: number for number, code in enumerate(contracts)}
    held = _held(table, places, contracts, depth)
    rows = bars.join(held, on="symbol", how="inner", maintain_order="left").filter(
        (pl.col("session") >= pl.col("first")) & (pl.col("session") < pl.col("end"))
    )
    # Who does not appear in the answer has no part in its prices, such as a contract that comes after the newest bar.
    held = held.join(rows, on="symbol", how="semi", maintain_order="left")
    if join != Join.NONE and held.height > 1:
        steps = _steps(bars, held, str(join))
        rows = _shifted(rows, held, steps, anchor) if join == Join.DIFFERENCE else _scaled(rows, held, steps, anchor)
    return rows.select(bars.columns).sort("timestamp")


def _held(rolls: pl.DataFrame, places: dict[str, int], contracts: Sequence[str], depth: int) -> pl.DataFrame:
    """`symbol, first, end` (Date, half-open): when each contract is the one of this depth, in order."""
    unknown = [code for code in {*rolls["from_symbol"], *rolls["to_symbol"]} if code not in places]
    if unknown:
        raise ConfigError(f"the rolls name {sorted(unknown)[0]}, which is not in the chain", fix="name all contracts")
    if rolls.is_empty():
        fronts, firsts = list(contracts[:1]), [date.min]
    else:
        fronts = [rolls["from_symbol"][0], *rolls["to_symbol"]]
        firsts = [date.min, *rolls["session"]]
    ends = [*firsts[1:], date.max]
    rows = [
        (contracts[places[code] + depth], first, end)
        for code, first, end in zip(fronts, firsts, ends, strict=True)
        if places[code] + depth < len(contracts)
    ]
    return pl.DataFrame(rows, {"symbol": pl.String(), "first": pl.Date(), "end": pl.Date()}, orient="row")


def _steps(bars: pl.DataFrame, held: pl.DataFrame, join: str) -> list[tuple[Decimal, Decimal]]:
    """For each contract but the last, its close and that of the next one in the last session before the roll that both have."""
    closes = bars.sort("timestamp").group_by("symbol", "session", maintain_order=True).agg(pl.col("close").last())
    pairs = held.select("symbol", following=pl.col("symbol").shift(-1), roll=pl.col("first").shift(-1)).drop_nulls(
        "following"
    )
    both = (
        pairs.join(closes, on="symbol")
        .join(closes.select(following="symbol", session="session", of_next="close"), on=["following", "session"])
        .filter(pl.col("session") < pl.col("roll"))
        .sort("session")
        .group_by("symbol")
        .agg(pl.col("close").last(), pl.col("of_next").last())
    )
    found = pairs.join(both, on="symbol", how="left", maintain_order="left")
    missing = found.filter(pl.col("close").is_null())
    if missing.height:
        symbol, following, roll = missing.row(0)[:3]
        raise ReadError(
            f"{symbol} and {following} have no session in common before the roll of {roll}",
            fix="fetch both contracts around the roll, or read them with join='none'",
        )
    steps = list(found.select("close", "of_next").rows())
    if join == Join.RATIO and any(min(pair) <= 0 for pair in steps):
        raise ReadError("a close at a roll is not above 0, so there is no ratio", fix="use join='difference'")
    return steps


def _scaled(
    rows: pl.DataFrame, held: pl.DataFrame, steps: Sequence[tuple[Decimal, Decimal]], anchor: str
) -> pl.DataFrame:
    """Prices multiplied by the ratios of all later rolls, or divided by those of all earlier ones."""
    ratio, ratios = Fraction(1), [Fraction(1)]
    for close, of_next in reversed(steps):
        ratio *= Fraction(of_next) / Fraction(close)
        ratios.append(ratio)
    ratios.reverse()
    if anchor == "start":
        ratios = [each / ratios[0] for each in ratios]
    factors = pl.DataFrame(factor_columns(within_digits(1 / each) for each in ratios))
    numbered = rows.join(held.select("symbol").with_row_index("number"), on="symbol", how="left", maintain_order="left")
    prices = [name for name in _PRICES if name in rows.columns]
    chosen = factors.select(pl.all().gather(numbered["number"]))
    return rows.with_columns(rescale(rows.select(prices).hstack(chosen), back=False).get_columns())


def _shifted(
    rows: pl.DataFrame, held: pl.DataFrame, steps: Sequence[tuple[Decimal, Decimal]], anchor: str
) -> pl.DataFrame:
    """Prices plus the differences of all later rolls, or minus those of all earlier ones."""
    shift, shifts = Decimal(0), [Decimal(0)]
    for close, of_next in reversed(steps):
        shift += of_next - close
        shifts.append(shift)
    shifts.reverse()
    if anchor == "start":
        shifts = [each - shifts[0] for each in shifts]
    by_symbol = held.select("symbol", pl.Series("shift", shifts, dtype=rows.schema["close"]))
    moved = rows.join(by_symbol, on="symbol", how="left", maintain_order="left")
    prices = [name for name in _PRICES if name in rows.columns]
    return moved.with_columns((pl.col(name) + pl.col("shift")).cast(rows.schema[name]).alias(name) for name in prices)
