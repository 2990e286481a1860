"""This module keeps the ledger of removals: what was taken out of bars and streams on purpose, when, and why.

A removal is a row of `removals`, and an entry of the table that names it and ends them (`removing`, `renaming`, `purging`,
`stream_purging`, `stream_renaming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.applied import APPLIED_AT, apply, read_applied
from gb_pipeline.lake.datasets import REMOVALS, STREAM_TABLES, bars_dataset, parse_bar_table, stream_dataset
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, polars_schema
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock, Draft
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

_KIND, _ID = "removal", "removal_id"
_COLUMNS = polars_schema(REMOVALS.columns)
REMOVAL_LIST = pl.Schema({**_COLUMNS, "known_at": pl.Datetime("us", "UTC")})


class Action(StrEnum):
    """What was done to bars, or to trades, quotes and books."""

    DELETED = "deleted"
    """They ended: from then on they are in no answer of now."""
    RENAMED = "renamed"
    """They ended, and stand under another symbol."""
    PURGED = "purged"
    """All their versions are gone, of earlier moments as well."""
    RESTORED = "restored"
    """Their sessions may be fetched again."""


def check_reason(reason: str) -> str:
    """The reason as one line.

    Raises:
        ConfigError: there is none, or one that a terminal cannot print.
    """
    text = " ".join(reason.split())
    if not text or not text.isprintable():
        raise ConfigError(
            "a removal needs a reason" + (", without control characters" if text else ""),
            fix="say why, for whoever reads it in a year",
        )
    return text


def record(
    tables: Tables,
    draft: Draft,
    source: str,
    symbol: str,
    action: Action,
    reason: str,
    *,
    sessions: pl.Series,
    bars: int,
    clock: Clock,
    renamed_to: str | None = None,
) -> None:
    """Append a row, and let an entry of the bars or streams name it; of an attempt that fails a row stays that nobody names.

    Args:
        sessions: that it concerns; of streams, days in UTC.
        bars: that it concerns; of streams, rows.
    """
    resolution, precision = _kind_of(draft.table.name)
    row_id = uuid4().hex[:16]
    first, last = sessions.min(), sessions.max()
    row = {
        **{"source": source, "symbol": symbol, "resolution": resolution, "precision": precision},
        **{"action": action.value, "renamed_to": renamed_to, "reason": reason, _ID: row_id},
        **{"first_session": first, "last_session": last, "sessions": len(sessions), "bars": bars},
    }
    append.append(tables[REMOVALS.name], pl.DataFrame([row], schema=_COLUMNS), clock=clock)
    apply(draft, _KIND, row_id)


def _kind_of(table: str) -> tuple[str, str]:
    """Resolution and precision of a table of bars; name and precision of one of trades, quotes or books."""
    kind = parse_bar_table(table)
    if kind is not None:
        return kind[0].value, kind[1].value
    (found,) = (
        (name, item.value) for name in STREAM_TABLES for item in Precision if stream_dataset(name, item).name == table
    )
    return found


def read(tables: Tables, source: str | None = None, symbols: Sequence[str] | None = None) -> pl.DataFrame:
    """Every removal, one row for each table; `known_at` is the moment from which it held.

    Returns:
        Columns of `REMOVAL_LIST`, oldest first.
    """
    files = tables.newest(REMOVALS.name).select(
        {} if source is None else {"source": source}, holding={} if symbols is None else {"symbol": symbols}
    )
    rows = reading.read(tables.storage, REMOVALS, files).drop("known_at")
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    if rows.is_empty():
        return pl.DataFrame(schema=REMOVAL_LIST)
    names = [
        (stream_dataset(kind, item) if kind in STREAM_TABLES else bars_dataset(Resolution(kind), item)).name
        for kind in rows["resolution"].unique()
        for item in Precision
    ]
    named = pl.concat([read_applied(tables.newest(name), _KIND, _ID) for name in names])
    held = rows.join(named, on=_ID).rename({APPLIED_AT: "known_at"})
    return held.select(REMOVAL_LIST.names()).sort("known_at", "source", "symbol", "resolution")


def exist(tables: Tables, resolution: Resolution) -> bool:
    """Whether anything of a resolution was ever removed; only the logs are looked at."""
    names = (bars_dataset(resolution, precision).name for precision in Precision)
    return any(happened(tables.newest(name)) for name in names)


def happened(snapshot: Snapshot, since: datetime | None = None, until: datetime | None = None) -> bool:
    """Whether anything of a table of bars was removed in (since, until]."""
    moments = read_applied(snapshot, _KIND, _ID)
    if since is not None:
        moments = moments.filter(pl.col(APPLIED_AT) > instant_literal(since))
    if until is not None:
        moments = moments.filter(pl.col(APPLIED_AT) <= instant_literal(until))
    return moments.height > 0


def count(snapshot: Snapshot) -> int:
    """How often anything of a table of bars was removed, or its removal taken back; it never shrinks."""
    return sum(name.startswith(f"{_KIND} ") for name in snapshot.transactions)


def covering(removals: pl.DataFrame, resolution: Resolution, session: date) -> pl.DataFrame:
    """Of some removals, those that concern a session, oldest first."""
    return removals.filter(
        (pl.col("resolution") == resolution.value)
        & (pl.col("first_session") <= session)
        & (pl.col("last_session") >= session)
    )
