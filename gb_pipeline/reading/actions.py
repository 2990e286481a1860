"""Corporate actions of a lake: `Lake.corporate_actions`.

Belongs here: choosing rows, and telling "the vendor had none" from "nobody asked". Does not belong here: versions of an action
(`lake.actions`), and what splits do to prices (`adjusted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake import actions, fetches
from gb_pipeline.lake.basis import ANSWERED
from gb_pipeline.market.schema import ACTION_KINDS
from gb_pipeline.market.window import Window
from gb_pipeline.reading.plan import EARLIEST, LATEST
from gb_pipeline.reading.series import near_names
from gb_pipeline.storage.table import Tables


def found(
    tables: Tables,
    symbols: Sequence[str] | None,
    source: str | None,
    kind: str | None,
    window: Window,
    as_of: datetime | None,
    *,
    withdrawn: bool,
) -> pl.DataFrame:
    """See `Lake.corporate_actions`."""
    if kind is not None and kind not in ACTION_KINDS:
        raise ConfigError(f"{kind[:40]!r} is no kind of action", fix=f"use one of {', '.join(ACTION_KINDS)}")
    rows = actions.read(tables, source, symbols, as_of, _days(window), withdrawn=withdrawn)
    silent = [code for code in symbols or () if code not in rows["symbol"]]
    if silent:
        _refuse_never_asked(tables, silent, source)
    return rows if kind is None else rows.filter(pl.col("kind") == kind)


def _refuse_never_asked(tables: Tables, silent: Sequence[str], source: str | None) -> None:
    asked = (
        fetches.scan(tables, source)
        .filter(pl.col("kind") == actions.TABLE, pl.col("outcome").is_in(ANSWERED))
        .select("symbol")
        .unique()
        .collect()["symbol"]
    )
    stored = actions.history(tables, source)["symbol"]
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


def _days(window: Window) -> tuple[date, date] | None:
    """Ex dates that lie in the window; a day that the window only touches counts."""
    if (window.start, window.end) == (EARLIEST, LATEST):
        return None
    if window.end == LATEST:
        return window.start.date(), LATEST.date()
    return window.start.date(), (window.end + timedelta(days=1) - timedelta(microseconds=1)).date()
