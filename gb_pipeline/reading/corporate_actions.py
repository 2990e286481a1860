"""Corporate actions of a lake: `Lake.corporate_actions`.

This module chooses rows, and tells "the vendor had none" from "nobody fetched them". Versions of an action are in
`lake.corporate_actions`, what splits do to prices in `adjusted`.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.adjustment.split_timeline import action_fetches
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake import corporate_actions
from gb_pipeline.market.schema import ACTION_KINDS
from gb_pipeline.market.spelling import near_names
from gb_pipeline.reading.arguments import Selection
from gb_pipeline.reading.ledgers import days_of
from gb_pipeline.storage.table import Tables


def select_actions(tables: Tables, selection: Selection, kind: str | None, *, withdrawn: bool) -> pl.DataFrame:
    """See `Lake.corporate_actions`."""
    if kind is not None and kind not in ACTION_KINDS:
        raise ConfigError(f"{str(kind)[:40]!r} is not a kind of action", fix=f"use one of {', '.join(ACTION_KINDS)}")
    rows = corporate_actions.read(
        tables, selection.source, selection.symbols, selection.as_of, days_of(selection), withdrawn=withdrawn
    )
    without_rows = [code for code in selection.symbols or () if code not in rows["symbol"]]
    if without_rows:
        _refuse_never_asked(tables, without_rows, selection.source)
    return rows if kind is None else rows.filter(pl.col("kind") == kind)


def _refuse_never_asked(tables: Tables, codes: Sequence[str], source: str | None) -> None:
    fetched = action_fetches(tables, source)["symbol"]
    stored = corporate_actions.history(tables, source)["symbol"]
    known = sorted({*fetched, *stored})
    for code in codes:
        if code not in known:
            similar = near_names(code, known)
            series = f"{source} {code}" if source is not None else code
            raise UnknownSeries(
                f"corporate actions of {series} were never fetched",
                near=similar,
                fix=f"did you mean {', '.join(similar)}?" if similar else "fetch them: gb actions fetch SOURCE SYMBOL",
            )
