"""This module reads and writes corporate actions, as the vendor has them now and had them at any earlier moment.

What the vendor changed is committed as new versions (`action_changes`). Whether an action makes sense is checked in
`quality.corporate_actions`, and what it does to prices is computed in `market.adjust`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.action_changes import KEY, compare_actions
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS
from gb_pipeline.market.schema import SPLIT
from gb_pipeline.market.window import Window, as_window
from gb_pipeline.quality.corporate_actions import ActionsValidation, validate_actions
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.table import Tables

TABLE = CORPORATE_ACTIONS.name
# A vendor that moved a split to another day may list it under both for a while.
_SAME_SPLIT_DAYS = timedelta(days=14)
_WORST = 5
_TYPES = CORPORATE_ACTIONS.polars
# Columns of a valid action; when it ended is not among them.
ACTIONS_STORED = pl.Schema({name: _TYPES[name] for name in (*CORPORATE_ACTIONS.columns.names, KNOWN_AT)})


@dataclass(frozen=True, slots=True)
class ActionsReport:
    """One `write_actions`; `received == new + restated + unchanged + quarantined + repeated + late`.

    Attributes:
        received: rows of the frame.
        new: actions that the lake did not hold.
        restated: actions that it held with another content, or as withdrawn; the old rows stay.
        unchanged: actions that it held with this content.
        withdrawn: actions that the vendor no longer returns.
        quarantined: rows that were refused.
        repeated: rows that equal another row of the response.
        late: rows that differ from what a later request brought; they changed nothing and are in quarantine.
        reasons: refused rows by code.
        worst: the first few refused rows: `symbol`, `ex_date`, `why`, `row`, as text.
        doubtful: splits that look like one split under two dates, as text, by symbol.
        by_symbol: the counts of each symbol that has any, under the names of the fields above.
        changed: the new versions, columns of the dataset `corporate_actions`.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    source: str
    start: date
    end: date
    received: int
    new: int
    restated: int
    unchanged: int
    withdrawn: int
    quarantined: int
    repeated: int
    late: int
    reasons: Mapping[str, int]
    worst: tuple[Mapping[str, str], ...]
    doubtful: Mapping[str, tuple[str, ...]]
    by_symbol: Mapping[str, Mapping[str, int]]
    changed: pl.DataFrame
    version: int | None


def history(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
) -> pl.DataFrame:
    """Every version of every action, in the order of key and `known_at`; `between` is a half-open range of ex dates."""
    snapshot = tables.newest(TABLE)
    files = snapshot.select(
        {"source": source} if source is not None else None,
        between={"ex_date": between} if between else None,
        holding={"symbol": symbols} if symbols is not None else None,
    )
    needed_range = None if between is None else ("ex_date", *between)
    rows = reading.read(tables.storage, CORPORATE_ACTIONS, files, between=needed_range)
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    return rows.sort("source", *KEY, "known_at")


def read(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
    between: tuple[date, date] | None = None,
    *,
    withdrawn: bool = False,
) -> pl.DataFrame:
    """The actions that are valid now, or were at a moment.

    Args:
        between: half-open range of ex dates.
        withdrawn: also those that the vendor no longer returned by then.

    Returns:
        Columns of `ACTIONS_STORED`, `withdrawn` never null, sorted by source, symbol and ex date.
    """
    rows = history(tables, source, symbols, between).with_columns(pl.col("withdrawn").fill_null(False))
    return select_valid(rows, as_of, withdrawn=withdrawn).select(ACTIONS_STORED.names())


def select_valid(rows: pl.DataFrame, as_of: datetime | None = None, *, withdrawn: bool = False) -> pl.DataFrame:
    """Of all versions, the ones that are valid now, or were at a moment."""
    is_valid = pl.col("superseded_at").is_null() if as_of is None else valid_at(as_of, history=True)
    versions = rows.filter(is_valid)
    return versions if withdrawn else versions.filter(~pl.col("withdrawn").fill_null(False))


def write_actions(
    tables: Tables,
    source: str,
    symbols: Sequence[str],
    window: tuple[date, date],
    frame: pl.DataFrame,
    *,
    fetched_at: Mapping[str, datetime],
    run_id: str | None,
    clock: Clock,
) -> ActionsReport:
    """See `LakeStore.write_actions`."""
    codes, requested = sorted(set(symbols)), as_window(window)
    days = _days(requested)
    validation = validate_actions(frame, set(codes), *days)

    def quarantine_rows(rows: pl.DataFrame) -> None:
        at = max(*fetched_at.values(), clock())
        quarantine.record(tables, source, TABLE, requested, rows, quarantined_at=at, run_id=run_id, clock=clock)

    quarantine_rows(validation.bad)

    def decide(draft: Draft) -> tuple[ActionsReport, pl.DataFrame]:
        return _decide(draft, source, codes, days, validation, fetched_at)

    report, late = commit(tables[TABLE], decide, clock=clock)
    quarantine_rows(late)
    return report


def _days(window: Window) -> tuple[date, date]:
    if window.start.time() != time() or window.end.time() != time():
        raise ConfigError(f"the window {window} is not one of whole days", fix="pass (start, end) as dates")
    return window.start.date(), window.end.date()


def _decide(
    draft: Draft,
    source: str,
    codes: list[str],
    window: tuple[date, date],
    validation: ActionsValidation,
    fetched_at: Mapping[str, datetime],
) -> tuple[ActionsReport, pl.DataFrame]:
    """One attempt: read, compare, and fill the draft; the report, and what came too late as refused rows."""
    chosen = draft.base.select({"source": source}, between={"ex_date": window}, holding={"symbol": codes})
    files = reading.current_files(draft.base, chosen)
    file_rows = reading.read(draft.table.storage, CORPORATE_ACTIONS, files, with_file=True)
    inside = (pl.col("ex_date") >= window[0]) & (pl.col("ex_date") < window[1])
    stored = file_rows.filter(inside, pl.col("symbol").is_in(codes))
    changes, late, counts = compare_actions(source, validation, stored, fetched_at)
    version = None
    if changes.height:
        version = draft.base.version + 1
        replaced = stored.join(changes.select(KEY), on=list(KEY), how="semi", maintain_order="left")
        revise(draft, changes.sort(KEY), replaced, files, file_rows)
    bad = Counter((symbol, "quarantined") for symbol in validation.bad["symbol"])
    counts += bad + Counter((symbol, "repeated") for symbol in validation.repeated)
    total: Counter[str] = Counter()
    by_symbol: dict[str, Counter[str]] = {}
    for (symbol, change), number in counts.items():
        total[change] += number
        by_symbol.setdefault(symbol, Counter())[change] = number
    report = ActionsReport(
        source=source,
        start=window[0],
        end=window[1],
        received=validation.received,
        new=total["new"],
        restated=total["restated"],
        unchanged=total["unchanged"],
        withdrawn=total["withdrawn"],
        quarantined=total["quarantined"],
        repeated=total["repeated"],
        late=total["late"],
        reasons=dict(Counter(reason for reasons in validation.bad["reasons"].to_list() for reason in reasons)),
        worst=_worst_rows(validation.bad),
        doubtful=_repeated_splits(validation.good),
        by_symbol=by_symbol,
        changed=changes,
        version=version,
    )
    return report, late


def _repeated_splits(good: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Equal splits of one symbol within two weeks: a date that was moved, and both applied would be one too many."""
    splits = good.filter(pl.col("kind") == SPLIT).sort("symbol", "ex_date")
    pairs = splits.with_columns(
        pl.col("ex_date").shift().over("symbol", "split_to", "split_from", order_by="ex_date").alias("before")
    ).filter(pl.col("ex_date") - pl.col("before") <= _SAME_SPLIT_DAYS)
    by_symbol: dict[str, tuple[str, ...]] = {}
    for row in pairs.rows(named=True):
        ratio = f"{_plain(row['split_to'])}:{_plain(row['split_from'])}"
        text = f"the same split {ratio} on {row['before']} and on {row['ex_date']}"
        by_symbol[row["symbol"]] = (*by_symbol.get(row["symbol"], ()), text)
    return by_symbol


def _worst_rows(bad: pl.DataFrame) -> tuple[Mapping[str, str], ...]:
    return tuple(
        {
            "symbol": row["symbol"],
            "ex_date": str(row["session"] or ""),
            "why": ", ".join(row["reasons"]),
            "row": row["row"][:300],
        }
        for row in bad.head(_WORST).rows(named=True)
    )


def _plain(value: Decimal) -> str:
    return f"{value:f}".rstrip("0").rstrip(".")
