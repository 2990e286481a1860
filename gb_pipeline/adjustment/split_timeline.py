"""This module says which splits are in the prices that are stored.

It reads from the lake what was recorded about a series' adjustment, and from which moment on a vendor that adjusts its history
had taken a split in. The arithmetic is in `market.adjust`; fetching again in `ingest`; answers in `reading`.

A bar of a split-adjusted series carries the splits that the vendor knew when the bar was fetched, so `fetched_at` says which
ones are in it. What the lake knows of a split's beginning at the vendor:

- it was listed when the vendor was first asked about its ex date: it began with the ex date;
- the vendor was asked on or after the ex date and did not list it, and listed it later: it began between the two answers. Bars
  that were fetched before the first of them are without it, bars fetched since the second have it. What was fetched between the
  two is taken to be without it, unless it has been fetched again since: then the vendor has said so with the split in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.lake import corporate_actions, fetches, quarantine
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS
from gb_pipeline.market.adjust import as_fraction
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SPLIT
from gb_pipeline.storage.table import Tables

ANSWERED = ("ok", "empty")
_KEY = list(CORPORATE_ACTIONS.key)
# An answer of one evening is good for what is fetched until the end of the next day: vendors list splits on their ex dates.
_GOOD_FOR = timedelta(days=2)


# The last splits of each source, by the version of the table that said so.
_LAST_SPLITS: WeakKeyDictionary[Tables, dict[str, tuple[int, dict[str, date]]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Edge:
    """When a vendor's prices changed: certainly not before `earliest`, certainly by `latest`."""

    earliest: datetime
    latest: datetime


@dataclass(frozen=True, slots=True)
class SplitPeriod:
    """One version of a split, and the time in which the vendor's prices had it.

    Attributes:
        ex_date: sessions before it are affected.
        ratio: new shares per old share.
        begins: when the vendor took it in.
        ends: when it was corrected or withdrawn; None while it stands.
    """

    ex_date: date
    ratio: Fraction
    begins: Edge
    ends: Edge | None

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Beginning, and end where there is one."""
        return (self.begins,) if self.ends is None else (self.begins, self.ends)


def last_splits(tables: Tables, source: str) -> dict[str, date]:
    """The newest ex date of a split that was ever listed, by symbol; read once per version of the table."""
    version = tables.newest(corporate_actions.TABLE).version
    if version < 0:
        return {}
    memory = _LAST_SPLITS.setdefault(tables, {})
    remembered = memory.get(source)
    if remembered is None or remembered[0] != version:
        rows = corporate_actions.history(tables, source).filter(pl.col("kind") == SPLIT)
        newest = rows.group_by("symbol").agg(pl.col("ex_date").max()).rows()
        remembered = memory[source] = (version, dict(newest))
    return remembered[1]


def split_periods(
    tables: Tables, source: str, symbols: Sequence[str] | None = None, as_of: datetime | None = None
) -> dict[str, tuple[SplitPeriod, ...]]:
    """Every version of every split by symbol, as far as it was known at a moment; symbols without a split are absent."""
    rows = corporate_actions.history(tables, source, symbols).filter(pl.col("kind") == SPLIT, _known_by(as_of))
    if rows.is_empty():
        return {}
    answered = _answered(tables, source, rows["symbol"].unique().to_list(), as_of)
    by_symbol = answered.partition_by("symbol", as_dict=True)
    periods: dict[str, list[SplitPeriod]] = {}
    for key, versions in rows.sort("known_at").group_by(_KEY, maintain_order=True):
        symbol = str(key[1])
        periods.setdefault(symbol, []).extend(_periods(versions, by_symbol.get((symbol,), answered.clear())))
    return {symbol: tuple(sorted(own, key=_by_date)) for symbol, own in periods.items()}


def action_fetches(
    tables: Tables, source: str | None, symbols: Sequence[str] | None = None, as_of: datetime | None = None
) -> pl.DataFrame:
    """Answered questions about corporate actions: `symbol, window_start, window_end, fetched_at`, oldest first.

    A question is recorded before its answer is stored. One that brought actions to a symbol of which there are none, neither stored
    nor refused, is left out: its process died in between, and what it brought is not known.
    """
    rows = _answered(tables, source, symbols, as_of)
    brought = rows.filter(pl.col("received") > 0)["symbol"].unique().to_list()
    if brought:
        stored = corporate_actions.history(tables, source, brought).filter(_known_by(as_of))["symbol"]
        unknown = set(brought) - set(stored)
        if unknown:
            refused = quarantine.scan(tables, source, sorted(unknown)).filter(
                pl.col("resolution") == corporate_actions.TABLE, pl.col("symbol").is_in(sorted(unknown))
            )
            unknown -= set(refused.select("symbol").unique().collect()["symbol"])
        rows = rows.filter(~((pl.col("received") > 0) & pl.col("symbol").is_in(sorted(unknown))))
    return rows.drop("received")


def _answered(
    tables: Tables, source: str | None, symbols: Sequence[str] | None, as_of: datetime | None
) -> pl.DataFrame:
    """Questions as `action_fetches` has them, and how many rows they `received`."""
    rows = (
        fetches.scan(tables, source, symbols)
        .filter(pl.col("kind") == corporate_actions.TABLE, pl.col("outcome").is_in(ANSWERED), _known_by(as_of))
        .select("symbol", "window_start", "window_end", "fetched_at", "received")
        .sort("fetched_at")
    )
    return rows.collect()


def not_covered(answered: pl.DataFrame, start: date, end: date) -> date | None:
    """The first day of [start, end] about whose splits the vendor never gave an answer; None where there is none.

    Args:
        answered: rows of `action_fetches` of one symbol.
    """
    day = start
    spans = sorted(
        (first.date(), min(last.date(), (at + _GOOD_FOR).date()))
        for first, last, at in answered.select("window_start", "window_end", "fetched_at").rows()
    )
    for first, last in spans:
        if first <= day < last:
            day = last
    return None if day > end else day


def confirmations(
    tables: Tables, source: str, resolution: Resolution, symbol: str, as_of: datetime | None = None
) -> pl.DataFrame:
    """Fetches of a series' bars: `window_start, window_end, fetched_at, outcome, error`, oldest first."""
    rows = fetches.read(tables, source, [symbol]).filter(
        pl.col("kind").fill_null("bars") == "bars", pl.col("resolution") == resolution.value, _known_by(as_of)
    )
    return rows.select("window_start", "window_end", "fetched_at", "outcome", "error")


def _known_by(as_of: datetime | None) -> pl.Expr:
    """Rows that were recorded by then: of a question that was still under way nobody could have known."""
    return pl.lit(True) if as_of is None else pl.col("known_at") <= as_of


def reached(edge: Edge, fetched_at: pl.Expr, timestamp: pl.Expr, confirmed: pl.DataFrame) -> pl.Expr:
    """Whether rows were fetched after a vendor's change.

    Args:
        fetched_at, timestamp: columns of the rows.
        confirmed: `confirmations`; only consulted for an edge in doubt.
    """
    certain = fetched_at >= edge.latest
    if edge.earliest >= edge.latest:
        return certain
    since = confirmed.filter(pl.col("fetched_at") >= edge.latest, pl.col("outcome").is_in(ANSWERED))
    again = pl.lit(False)
    for start, end in since.select("window_start", "window_end").unique().rows():
        again = again | ((timestamp >= start) & (timestamp < end))
    return certain | ((fetched_at >= edge.earliest) & again)


def split_factors(
    rows: pl.DataFrame, periods: Sequence[SplitPeriod], confirmed: pl.DataFrame, today: date
) -> tuple[pl.Series, list[tuple[Fraction, Fraction]]]:
    """For every row, which splits are in its prices, and which ones belong into them by now.

    Args:
        rows: `session`, `timestamp` and `fetched_at` of one series.
        periods: its splits.
        confirmed: `confirmations`; may be empty where nothing is `in_doubt`.
        today: splits with a later ex date have not happened yet.

    Returns:
        For each row a position (UInt32) in a list of two products of ratios: carried, due.
    """
    session, fetched_at, timestamp = (pl.col(name) for name in ("session", "fetched_at", "timestamp"))
    due = [period for period in periods if period.ends is None and period.ex_date <= today]
    masks = [(session.is_null()).alias("unplaced")]
    for number, period in enumerate(periods):
        inside = (session < period.ex_date) & reached(period.begins, fetched_at, timestamp, confirmed)
        if period.ends is not None:
            inside = inside & ~reached(period.ends, fetched_at, timestamp, confirmed)
        masks.append(inside.alias(f"carried {number}"))
    masks += [(session < period.ex_date).alias(f"due {number}") for number, period in enumerate(due)]
    flags = rows.select(mask.fill_null(False) for mask in masks)
    distinct = flags.unique(maintain_order=True)
    products = []
    for _, *flag in distinct.rows():
        carried = _product(p.ratio for p, on in zip(periods, flag, strict=False) if on)
        products.append((carried, _product(p.ratio for p, on in zip(due, flag[len(periods) :], strict=True) if on)))
    coded = flags.join(distinct.with_row_index("code"), on=flags.columns, how="left", maintain_order="left")
    return coded["code"], products


def _product(ratios: Iterable[Fraction]) -> Fraction:
    product = Fraction(1)
    for ratio in ratios:
        product *= ratio
    return product


def in_doubt(periods: Sequence[SplitPeriod]) -> bool:
    """Whether `confirmations` are needed at all."""
    return any(edge.earliest < edge.latest for period in periods for edge in period.edges)


def _periods(versions: pl.DataFrame, answered: pl.DataFrame) -> Iterator[SplitPeriod]:
    rows = versions.rows(named=True)
    edges = [_edge(row, answered, first=not number) for number, row in enumerate(rows)]
    for number, row in enumerate(rows):
        if not row["withdrawn"]:
            ends = edges[number + 1] if number + 1 < len(rows) else None
            yield SplitPeriod(row["ex_date"], as_fraction(row["split_to"], row["split_from"]), edges[number], ends)


def _edge(version: Mapping[str, Any], answered: pl.DataFrame, *, first: bool) -> Edge:
    midnight = datetime.combine(version["ex_date"], time(), UTC)
    fetched_at = version["fetched_at"]
    earlier = answered.filter(
        pl.col("fetched_at") <= fetched_at, pl.col("window_start") <= midnight, pl.col("window_end") > midnight
    )["fetched_at"].to_list()
    # The last of them is the answer that this version came with.
    before = earlier[-2] if len(earlier) > 1 else None
    if first and (before is None or before < midnight):
        return Edge(midnight, midnight)
    # The answer was made after its question had been sent: only what was asked for once it was here is certainly later.
    return Edge(max(midnight, before or fetched_at), max(midnight, version["known_at"]))


def _by_date(period: SplitPeriod) -> tuple[date, datetime]:
    return period.ex_date, period.begins.latest
