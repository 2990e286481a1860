"""This module decides what is told of instruments means for the stored rows of a source. Nothing here reads or writes.

A source tells either whole histories, every symbol that an instrument ever had, or what there is now. Of the latter a history is
made: who stood under another symbol until now has changed it today, and whose symbol somebody else has now stands under it no more.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import polars as pl

from gb_pipeline.lake.datasets import INSTRUMENTS
from gb_pipeline.lake.told_instruments import TOLD
from gb_pipeline.market.symbology import EARLIEST_DAY, until

_KEY = ["symbol", "valid_from"]
_INTERVAL = {"symbol", "valid_from", "valid_until", "instrument"}
# What a source no longer tells stays known.
_KEPT = [name for name in TOLD if name not in _INTERVAL]
_OF_INSTRUMENT = ["composite_figi", "share_class_figi", "isin"]
_COLUMNS = [name for name in INSTRUMENTS.columns.names if name != "source"]


class Telling(StrEnum):
    """What a source tells."""

    HISTORY = "history"
    """Every symbol that each of the instruments ever had: rows that it does not tell hold no more."""
    ROWS = "rows"
    """Some rows: they are added, or take the place of the one of the same symbol and first day."""
    PRESENT = "present"
    """What there is now; `valid_from` is told where it is known."""


def rows_after(told: pl.DataFrame, stored: pl.DataFrame, telling: Telling, day: date) -> pl.DataFrame:
    """The rows of a source once something was told.

    Args:
        told: columns of `TOLD` and `fetched_at`, with the instrument of each row.
        stored: current rows of the source, the same columns.
        telling: what is told.
        day: today, for what is told of now.

    Returns:
        The columns of `stored`, in no order.
    """
    if telling is Telling.PRESENT:
        told, stored = _as_history(told, stored, day)
    told = told.with_columns(pl.col("valid_from").fill_null(EARLIEST_DAY))
    rest = stored.join(told, on="instrument" if telling is Telling.HISTORY else _KEY, how="anti")
    return pl.concat([rest, _keep_known(told, stored).select(stored.columns)])


def _as_history(told: pl.DataFrame, stored: pl.DataFrame, day: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is told of now with first days, and the stored rows with those ended that it ends."""
    stands = until() > day
    last = stored.sort("valid_from").unique("instrument", keep="last", maintain_order=True)
    last = last.select("instrument", was="symbol", since="valid_from", was_open=stands)
    free = stored.filter(~stands).group_by("symbol").agg(free=pl.col("valid_until").max())
    held = stored.filter(stands).select("symbol", holder="instrument")
    told = (
        told.join(last, on="instrument", how="left", maintain_order="left")
        .join(free, on="symbol", how="left", maintain_order="left")
        .join(held, on="symbol", how="left", maintain_order="left")
    )
    told = told.with_columns(
        same=(pl.col("was") == pl.col("symbol")) & (pl.col("was_open") | ~stands),
        taken=stands & (pl.col("holder") != pl.col("instrument")),
    )
    today = pl.coalesce(pl.when(pl.col("valid_from") > pl.col("since")).then("valid_from"), pl.lit(day))
    told = told.with_columns(
        valid_from=pl.when("same")
        .then(pl.coalesce("valid_from", "since"))
        .when(pl.col("was").is_not_null())
        .then(today)
        .when("taken")
        .then(pl.lit(day))
        # A vendor's day of listing is the instrument's, not that of its newest symbol.
        .otherwise(pl.max_horizontal(pl.col("valid_from").fill_null(EARLIEST_DAY), "free"))
    )
    # Where a beginning is told that was not known, the row begins there.
    moved = told.filter(pl.col("same") & (pl.col("valid_from") != pl.col("since"))).select(
        "instrument", valid_from="since"
    )
    stored = stored.join(moved, on=["instrument", "valid_from"], how="anti")
    changed = told.filter(~pl.col("same") & pl.col("was_open")).select("instrument", symbol="was", left="valid_from")
    taken = told.filter("taken").select(instrument="holder", symbol="symbol", left="valid_from")
    ends = pl.concat([changed, taken]).group_by("instrument", "symbol").agg(pl.col("left").min())
    stored = stored.join(ends, on=["instrument", "symbol"], how="left", maintain_order="left")
    ending = pl.col("left").is_not_null() & (until() > pl.col("left"))
    stored = stored.with_columns(valid_until=pl.when(ending).then("left").otherwise("valid_until")).drop("left")
    # What began on the day on which it ends was never there.
    stored = stored.filter(pl.col("valid_from") < until())
    return told.drop("was", "since", "was_open", "free", "holder", "same", "taken"), stored


def _keep_known(told: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """What is told, and where it says nothing, what is known of the same row, or of the instrument."""
    by_row = stored.select(*_KEY, "instrument", *(pl.col(name).alias(f"known_{name}") for name in _KEPT))
    rows = told.join(by_row, on=[*_KEY, "instrument"], how="left", maintain_order="left")
    rows = rows.with_columns(pl.coalesce(name, f"known_{name}").alias(name) for name in _KEPT)
    of_all = pl.concat([stored.select("instrument", *_OF_INSTRUMENT), told.select("instrument", *_OF_INSTRUMENT)])
    by_instrument = of_all.group_by("instrument").agg(
        pl.col(name).drop_nulls().last().alias(f"any_{name}") for name in _OF_INSTRUMENT
    )
    rows = rows.join(by_instrument, on="instrument", how="left", maintain_order="left")
    return rows.with_columns(pl.coalesce(name, f"any_{name}").alias(name) for name in _OF_INSTRUMENT)


def differences(after: pl.DataFrame, stored: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is new or says something else, and the stored rows that end.

    Returns:
        Rows of `after`, and rows of `stored`.
    """
    content = [name for name in _COLUMNS if name != "fetched_at"]
    same = after.select(content).join(stored.select(content), on=content, how="semi", nulls_equal=True).select(_KEY)
    return after.join(same, on=_KEY, how="anti"), stored.join(same, on=_KEY, how="anti")


def describe(pair: dict[str, object]) -> str:
    """Two rows that cannot both hold, in words."""
    one, other = (_describe_row(pair, prefix) for prefix in ("other_", ""))
    what = f"{pair['symbol']} is two instruments" if pair["by"] == "symbol" else f"{pair['instrument']} has two symbols"
    return f"{what} of {pair['source']} on one day: {one}, and {other}"


def _describe_row(pair: dict[str, object], prefix: str) -> str:
    first, last, name = (pair[f"{prefix}{column}"] for column in ("valid_from", "valid_until", "name"))
    called = f" ({str(name)[:60]})" if name else ""
    since = "from the beginning" if first == EARLIEST_DAY else f"from {first}"
    ends = "" if last is None else f" until {last}"
    return f"{pair[f'{prefix}symbol']} is {pair[f'{prefix}instrument']}{called} {since}{ends}"
