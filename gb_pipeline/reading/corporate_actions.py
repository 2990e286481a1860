"""Corporate actions of a lake: `Lake.corporate_actions`.

Belongs here: choosing rows, and telling "the vendor had none" from "nobody asked". Does not belong here: versions of an action
(`lake.corporate_actions`), and what splits do to prices (`adjusted`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gb_pipeline.adjustment.split_timeline import ANSWERED
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake import corporate_actions, fetches
from gb_pipeline.market.schema import ACTION_KINDS
from gb_pipeline.reading.arguments import Selection
from gb_pipeline.reading.ledgers import days_of
from gb_pipeline.reading.series import near_names
from gb_pipeline.storage.table import Tables


def found(tables: Tables, chosen: Selection, kind: str | None, *, withdrawn: bool) -> pl.DataFrame:
    """See `Lake.corporate_actions`."""
    if kind is not None and kind not in ACTION_KINDS:
        raise ConfigError(f"{str(kind)[:40]!r} is no kind of action", fix=f"use one of {', '.join(ACTION_KINDS)}")
    rows = corporate_actions.read(
        tables, chosen.source, chosen.symbols, chosen.as_of, days_of(chosen), withdrawn=withdrawn
    )
    silent = [code for code in chosen.symbols or () if code not in rows["symbol"]]
    if silent:
        _refuse_never_asked(tables, silent, chosen.source)
    return rows if kind is None else rows.filter(pl.col("kind") == kind)


def _refuse_never_asked(tables: Tables, silent: Sequence[str], source: str | None) -> None:
    asked = (
        fetches.scan(tables, source)
        .filter(pl.col("kind") == corporate_actions.TABLE, pl.col("outcome").is_in(ANSWERED))
        .select("symbol")
        .unique()
        .collect()["symbol"]
    )
    stored = corporate_actions.history(tables, source)["symbol"]
    known = sorted({*asked, *stored})
    for code in silent:
        if code not in known:
            near = near_names(code, known)
            whose = f"{source} {code}" if source is not None else code
            raise UnknownSeries(
                f"nobody ever asked for corporate actions of {whose}",
                near=near,
                fix=f"did you mean {', '.join(near)}?" if near else "fetch them: gb actions fetch SOURCE SYMBOL",
            )
