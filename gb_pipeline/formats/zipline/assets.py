"""A bundle's SQLite files: which asset a sid is, and its splits, dividends, listing and delisting."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.market.schema import ACTIONS_RECEIVED, CASH_DIVIDEND, DELISTING, LISTING, SPLIT

# NaT of NumPy, which stands for no date.
_NAT = -(2**63)
_SECOND, _NANOSECOND = 1, 1_000_000_000
_VERSIONED = re.compile(r"assets-([0-9]{1,3})\.sqlite")
# A ratio is stored as a float: the fraction of small numbers that is that float.
_LARGEST_DENOMINATOR = 100_000


@dataclass(frozen=True, slots=True)
class Asset:
    """One sid; dates as the bundle has them.

    Attributes:
        ticker: the newest one.
        tickers: all that it ever had.
    """

    sid: int
    ticker: str
    tickers: tuple[str, ...]
    first: date | None
    last: date | None
    closed: date | None


def find_assets(bundle: Path) -> Path:
    """The newest `assets-N.sqlite` of a bundle.

    Raises:
        FormatRefused: there is none.
    """
    found = [(int(match[1]), path) for path in bundle.iterdir() if (match := _VERSIONED.fullmatch(path.name))]
    if not found:
        raise FormatRefused(
            f"{bundle} has no assets-N.sqlite", fix="name the folder of a bundle that zipline has ingested"
        )
    return max(found)[1]


def read_assets(path: Path) -> dict[int, Asset]:
    """Every equity by its sid."""
    with _open(path) as run:
        names: dict[int, list[str]] = {}
        query = (
            "select sid, symbol, start_date, end_date from equity_symbol_mappings order by sid, end_date, start_date"
        )
        for sid, symbol, _, _ in run(query):
            names.setdefault(sid, []).append(str(symbol))
        assets = {}
        for sid, first, last, closed in run("select sid, start_date, end_date, auto_close_date from equities"):
            tickers = tuple(dict.fromkeys(names.get(sid, ())))
            days = (_day(value, _NANOSECOND, path) for value in (first, last, closed))
            assets[sid] = Asset(sid, tickers[-1] if tickers else "", tickers, *days)
    return assets


def read_actions(path: Path, codes: Mapping[int, str]) -> tuple[pl.DataFrame, list[str]]:
    """Splits and cash dividends, columns of `ACTIONS_RECEIVED` and `symbol`; and what there is besides, a sentence each."""
    rows, notes = [], []
    with _open(path) as run:
        for sid, day, ratio in run("select sid, effective_date, ratio from splits order by sid, effective_date"):
            if sid in codes:
                new, old = _as_split(ratio, path)
                rows.append(_row(codes[sid], SPLIT, _day(day, _SECOND, path), split_to=new, split_from=old))
        query = "select sid, ex_date, amount, declared_date, record_date, pay_date from dividend_payouts order by sid, ex_date"
        for sid, day, amount, *others in run(query):
            if sid in codes:
                declared, record, pay = (_day(value, _SECOND, path) for value in others)
                dates = {"declared_date": declared, "record_date": record, "pay_date": pay}
                rows.append(_row(codes[sid], CASH_DIVIDEND, _day(day, _SECOND, path), amount=str(amount), **dates))
        for table, name in (("stock_dividend_payouts", "dividends in shares"), ("mergers", "mergers")):
            ((count,),) = run(f"select count(*) from {table}")
            if count:
                notes.append(f"{count:,} {name} are left out: the lake has no such action.")
    return pl.DataFrame(rows, schema={"symbol": pl.String(), **ACTIONS_RECEIVED}), notes


def listing_actions(assets: Mapping[int, Asset], codes: Mapping[int, str]) -> pl.DataFrame:
    """Listings and delistings, where an asset begins after the bundle does or ends before it; of its ends nothing is known."""
    firsts = [asset.first for sid, asset in assets.items() if sid in codes and asset.first is not None]
    lasts = [asset.last for sid, asset in assets.items() if sid in codes and asset.last is not None]
    rows = []
    for sid, code in codes.items():
        asset = assets[sid]
        if asset.first is not None and asset.first > min(firsts):
            rows.append(_row(code, LISTING, asset.first))
        if asset.last is not None and asset.last < max(lasts):
            following = asset.last + timedelta(days=1)
            rows.append(_row(code, DELISTING, max(asset.closed or following, following)))
    return pl.DataFrame(rows, schema={"symbol": pl.String(), **ACTIONS_RECEIVED})


def _row(symbol: str, kind: str, ex_date: date | None, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(ACTIONS_RECEIVED) | {"symbol": symbol, "kind": kind, "ex_date": ex_date} | values


def _as_split(ratio: Any, path: Path) -> tuple[str, str]:
    """New and old shares; zipline stores old over new, what prices before the day are multiplied by."""
    if not isinstance(ratio, float | int) or not 0 < ratio < 1e9:
        raise _damaged(path, f"{str(ratio)[:40]!r} is no ratio of a split")
    fraction = Fraction(ratio).limit_denominator(_LARGEST_DENOMINATOR)
    if fraction and abs(float(fraction) - ratio) <= 1e-6 * ratio:
        return str(fraction.denominator), str(fraction.numerator)
    return "1", repr(float(ratio))


def _day(value: Any, unit: int, path: Path) -> date | None:
    """A date; none for NaT."""
    if value is None or value == _NAT:
        return None
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(value) // unit)).date()
    except (TypeError, ValueError, OverflowError):
        raise _damaged(path, f"{str(value)[:40]!r} is no date") from None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """A function that runs a query; whatever SQLite says is said with the file."""
    try:
        # Nothing is changed, and no journal is made beside it.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            yield lambda query: connection.execute(query).fetchall()
    except sqlite3.Error as error:
        raise _damaged(path, str(error)) from None


def _damaged(place: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{place}: {why}", fix="copy the bundle again from where it was made, or ingest it again")
