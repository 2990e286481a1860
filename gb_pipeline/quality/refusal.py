"""This module decides what is refused because of bad rows: sessions of which too many are bad, and whole answers.

A few bad rows are set aside by themselves. Beyond `max_bad_fraction` the rest is not believed either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from gb_pipeline.market.window import Window
from gb_pipeline.quality.reasons import HARMLESS, NO_BAR, REFUSED_WITH_ANSWER, REFUSED_WITH_SESSION, STILL_OPEN
from gb_pipeline.quality.unplaced import UnplacedRows, find_unplaced

_KEY = ["symbol", "timestamp"]
_SESSION = ["symbol", "session"]
_PAIRS = {"symbol": pl.String(), "session": pl.Date()}


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """What is not stored.

    Attributes:
        reasons: `index` and `reasons` of every bad row, those that are refused for the company they keep among them.
        sessions: (symbol, session) pairs of which nothing is believed.
        unplaced: rows that belong to no session of the window, by symbol, and whether they refuse the answer.
    """

    reasons: pl.DataFrame
    sessions: frozenset[tuple[str, date]]
    unplaced: Mapping[str, UnplacedRows]


def refuse(
    rows: pl.DataFrame,
    excused: pl.Series,
    limit: float,
    window: Window,
    received: Mapping[str, int],
    rows_read: Mapping[str, int],
) -> RefusedRows:
    """Decide what is not believed.

    Args:
        rows: `index`, `symbol`, `session`, `timestamp`, `reasons` (null where nothing is wrong) of every row but repeats, and
            `is_blank`, whether it has no price.
        excused: `index` of rows without a price that say nothing about the rest.
        limit: the share of bad rows that is still accepted.
        window: the requested one.
        received: rows of the answer by symbol.
        rows_read: rows that were read for it, where these are more.
    """
    is_bad = pl.col("reasons").is_not_null()
    rows = rows.with_columns((is_bad & _is_harmful(rows, excused)).alias("is_harmful"))
    unplaced = _refuse_answers(rows, limit, window, received, rows_read)
    answers = [symbol for symbol, found in unplaced.items() if found.refused]
    sessions = _refuse_sessions(rows, limit)
    pairs = pl.DataFrame(sorted(sessions), schema=_PAIRS, orient="row").with_columns(pl.lit(True).alias("is_refused"))
    company = rows.join(pairs, on=_SESSION, how="left", maintain_order="left").with_columns(
        pl.when(is_bad)
        .then("reasons")
        .when(pl.col("symbol").is_in(answers))
        .then(pl.lit([REFUSED_WITH_ANSWER]))
        .when("is_refused")
        .then(pl.lit([REFUSED_WITH_SESSION]))
        .alias("reasons")
    )
    return RefusedRows(company.filter(is_bad).select("index", "reasons"), sessions, unplaced)


def _is_harmful(rows: pl.DataFrame, excused: pl.Series) -> pl.Expr:
    """Whether a bad row discredits its neighbours: not a line without a price beside the bar of its moment."""
    serious = pl.col("reasons").list.set_difference(list(HARMLESS))
    good_keys = rows.filter(pl.col("reasons").is_null()).select(pl.struct(_KEY)).to_series()
    is_excused = pl.col("index").is_in(excused.implode()) | pl.struct(_KEY).is_in(good_keys.implode())
    only_no_bar = (serious.list.len() == 1) & serious.list.contains(NO_BAR)
    return (serious.list.len() > 0) & ~(only_no_bar & is_excused)


def _refuse_answers(
    rows: pl.DataFrame, limit: float, window: Window, received: Mapping[str, int], rows_read: Mapping[str, int]
) -> dict[str, UnplacedRows]:
    bad = rows.filter(pl.col("reasons").is_not_null())
    unplaced = find_unplaced(bad, window, received, rows_read)
    # A row of a known day without a price is not a bar that would be lost.
    is_nothing = pl.col("is_blank") & pl.col("timestamp").is_not_null()
    harmful = find_unplaced(bad.filter(pl.col("is_harmful") & ~is_nothing), window, received, rows_read)
    return {
        symbol: replace(found, refused=symbol in harmful and harmful[symbol].rows > limit * found.out_of)
        for symbol, found in unplaced.items()
    }


def _refuse_sessions(rows: pl.DataFrame, limit: float) -> frozenset[tuple[str, date]]:
    """Sessions with too many bad rows, and those without a good one; bars in progress say nothing."""
    is_bad = pl.col("reasons").is_not_null()
    is_open = pl.col("reasons").list.contains(STILL_OPEN).fill_null(False)
    counts = (
        rows.filter(pl.col("session").is_not_null())
        .group_by(_SESSION)
        .agg(
            pl.len().alias("rows"),
            pl.col("is_harmful").sum().alias("harmful"),
            (is_bad & ~is_open).sum().alias("bad"),
            (~is_bad).sum().alias("good"),
        )
    )
    is_refused = (pl.col("harmful") > limit * pl.col("rows")) | ((pl.col("good") == 0) & (pl.col("bad") > 0))
    return frozenset(counts.filter(is_refused).select(_SESSION).rows())
