"""Corporate actions as a vendor tells them, and as it told them at any earlier moment.

Belongs here: comparing an answer with what is stored, and appending what it says differently. Nothing is ever replaced: of
several rows of one action (source, symbol, ex_date, kind, label) the newest known one holds, the older ones are what
`as_of` reads. An action that the vendor no longer returns keeps its rows and gets one more that says `withdrawn`.
Does not belong here: whether an action makes sense (`quality.actions`), and what it does to prices (`market.adjust`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.files import ledger_rows
from gb_pipeline.lake.specs import spec_of
from gb_pipeline.lake.tables import Tables, retry_on_conflict
from gb_pipeline.market.schema import CORPORATE_ACTIONS, SPLIT, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.actions import ActionsVerdict, judge_actions

if TYPE_CHECKING:
    from deltalake import DeltaTable

TABLE = "corporate_actions"
KEY = ("symbol", "ex_date", "kind", "label")
# What an action says; `ratio` follows from the split's two numbers.
SAID = ("split_to", "split_from", "amount", "currency", "declared_date", "record_date", "pay_date")
# A vendor that moved a split to another day may list it under both for a while.
_SAME_SPLIT_DAYS = timedelta(days=14)
_WORST = 5
_MOST_NAMED = 200
_TYPES = polars_schema(CORPORATE_ACTIONS)

_Action = dict[str, Any]
_Key = tuple[str, date, str, str]


@dataclass(frozen=True, slots=True)
class ActionsReport:
    """One `write_actions`; `received == new + restated + unchanged + quarantined + repeated`.

    Attributes:
        received: rows of the frame.
        new: actions that the lake did not hold.
        restated: actions that it held with another content, or as withdrawn; the old rows stay.
        unchanged: actions that it held with this content.
        withdrawn: actions that the vendor returns no more since this answer.
        quarantined: rows that were refused.
        repeated: rows that said the same as another row of the answer.
        reasons: refused rows by code.
        worst: the first few refused rows: `symbol`, `ex_date`, `why`, `row`, as text.
        doubtful: splits that look like one split under two dates, as text, by symbol.
        by_symbol: the counts of each symbol that has any, under the names of the fields above.
        changed: the rows that were appended, columns of `market.schema.CORPORATE_ACTIONS`.
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
    rows = ledger_rows(tables, TABLE, source=source, symbols=symbols, between=between, key="ex_date")
    return rows.sort("source", *KEY, "known_at").collect()


def read(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
    between: tuple[date, date] | None = None,
    *,
    withdrawn: bool = False,
) -> pl.DataFrame:
    """The actions that hold now, or held at a moment.

    Args:
        between: half-open range of ex dates.
        withdrawn: also those that the vendor no longer returned by then.

    Returns:
        Columns of `market.schema.CORPORATE_ACTIONS`, `withdrawn` never null, sorted by source, symbol and ex date.
    """
    rows = history(tables, source, symbols, between).with_columns(pl.col("withdrawn").fill_null(False))
    return valid(rows, as_of, withdrawn=withdrawn)


def valid(rows: pl.DataFrame, as_of: datetime | None = None, *, withdrawn: bool = False) -> pl.DataFrame:
    """Of all versions, as `history` sorts them, the ones that held at a moment."""
    if as_of is not None:
        rows = rows.filter(pl.col("known_at") <= as_of)
    newest = rows.unique(["source", *KEY], keep="last", maintain_order=True)
    return newest if withdrawn else newest.filter(~pl.col("withdrawn").fill_null(False))


def write_actions(
    tables: Tables,
    source: str,
    symbols: Sequence[str],
    window: tuple[date, date],
    frame: pl.DataFrame,
    *,
    known_at: datetime,
    now: datetime,
    run_id: str | None,
) -> ActionsReport:
    """See `LakeStore.write_actions`."""
    codes = sorted(set(symbols))
    verdict = judge_actions(frame, set(codes), *window)
    asked = Window.of(*window)
    quarantine.record(tables, source, TABLE, asked, verdict.bad, at=now, run_id=run_id)
    return retry_on_conflict(lambda: _write(tables, source, codes, window, verdict, known_at))


def _write(
    tables: Tables,
    source: str,
    codes: list[str],
    window: tuple[date, date],
    verdict: ActionsVerdict,
    known_at: datetime,
) -> ActionsReport:
    """One attempt: read, compare, commit on top of what was read."""
    if not verdict.good.is_empty():
        tables.ensure(spec_of(TABLE))
    # A long list of names makes a slow predicate: whatever lies between the first and the last is written back then.
    named = codes if len(codes) <= _MOST_NAMED else None
    with tables.open(TABLE) as table:
        # One read for the decision and for what is written back: a later one could see another writer's commit.
        rows = history(tables, source, named, window)
        there = rows.filter(pl.col("symbol").is_in(codes))
        changes, counts = _changes(source, verdict, there, known_at)
        version = None
        if table is not None and not changes.is_empty():
            version = _commit(tables, table, source, named, rows, changes)
    bad = Counter((symbol, "quarantined") for symbol in verdict.bad["symbol"])
    counts += bad + Counter((symbol, "repeated") for symbol in verdict.repeated)
    total: Counter[str] = Counter()
    by_symbol: dict[str, Counter[str]] = {}
    for (symbol, what), number in counts.items():
        total[what] += number
        by_symbol.setdefault(symbol, Counter())[what] = number
    return ActionsReport(
        source=source,
        start=window[0],
        end=window[1],
        received=verdict.received,
        new=total["new"],
        restated=total["restated"],
        unchanged=total["unchanged"],
        withdrawn=total["withdrawn"],
        quarantined=total["quarantined"],
        repeated=total["repeated"],
        reasons=dict(Counter(reason for reasons in verdict.bad["reasons"].to_list() for reason in reasons)),
        worst=_worst(verdict.bad),
        doubtful=_doubtful(verdict.good),
        by_symbol=by_symbol,
        changed=changes,
        version=version,
    )


def _commit(
    tables: Tables, table: DeltaTable, source: str, named: list[str] | None, rows: pl.DataFrame, changes: pl.DataFrame
) -> int:
    """Append by replacing: rows beside the new ones are written back, so that two writers of one action conflict."""
    first, last = changes["symbol"].min(), changes["symbol"].max()
    low, high = str(changes["ex_date"].min()), str(changes["ex_date"].max())
    names = "" if named is None else f" AND symbol IN ({', '.join(map(_text, named))})"
    predicate = (
        f"source = {_text(source)} AND symbol >= {_text(str(first))} AND symbol <= {_text(str(last))}{names}"
        f" AND ex_date >= '{low}' AND ex_date <= '{high}'"
    )
    kept = rows.filter(
        pl.col("symbol").is_between(pl.lit(first), pl.lit(last)),
        pl.col("ex_date").cast(pl.String).is_between(pl.lit(low), pl.lit(high)),
    )
    return tables.replace(table, spec_of(TABLE), pl.concat([kept, changes]).sort(*KEY, "known_at"), predicate)


def _changes(
    source: str, verdict: ActionsVerdict, there: pl.DataFrame, known_at: datetime
) -> tuple[pl.DataFrame, Counter[tuple[str, str]]]:
    """The rows to append, and how many actions of which symbol are what."""
    stored = {_key(row): row for row in valid(there, known_at, withdrawn=True).rows(named=True)}
    newest = {_key(row): row["known_at"] for row in there.rows(named=True)}
    # Another writer may have been faster with what is said here: that is no version of its own.
    after = there.filter(pl.col("known_at") > known_at).unique(["source", *KEY], keep="first", maintain_order=True)
    following = {_key(row): row for row in after.rows(named=True)}
    counts: Counter[tuple[str, str]] = Counter()
    changes: list[_Action] = []

    def append(action: _Action, *, gone: bool = False) -> None:
        # Two contents of one moment could not be told apart.
        taken = newest.get(_key(action))
        moment = known_at + timedelta(microseconds=1) if taken == known_at else known_at
        changes.append({**action, "source": source, "known_at": moment, "withdrawn": gone})

    sent = _labelled(verdict.good, stored)
    for key, action in sent.items():
        before = stored.get(key)
        same = any(
            row is not None and not row["withdrawn"] and _said(row) == _said(action)
            for row in (before, following.get(key))
        )
        counts[key[0], "unchanged" if same else "new" if before is None else "restated"] += 1
        if not same:
            append(action)
    for key, before in stored.items():
        if key not in sent and not before["withdrawn"] and key[:3] not in verdict.refused:
            counts[key[0], "withdrawn"] += 1
            append(before, gone=True)
    return pl.DataFrame([{name: row[name] for name in _TYPES} for row in changes], schema=_TYPES), counts


def _labelled(good: pl.DataFrame, stored: Mapping[_Key, _Action]) -> dict[_Key, _Action]:
    """Actions by key. Several of one day under one label become `label`, `label (2)`, ...

    One that is stored keeps its label whatever comes beside it; the others take the free ones in the order of what they
    say, so that the order of an answer means nothing.
    """
    groups: dict[_Key, list[_Action]] = {}
    for row in good.rows(named=True):
        groups.setdefault(_key(row), []).append(row)
    found: dict[_Key, _Action] = {}
    for key, rows in groups.items():
        labels = _labels(key, len(rows), stored, groups)
        by_content = {_said(stored[name]): name for name in reversed(labels) if name in stored}
        waiting = []
        for row in rows:
            name = by_content.get(_said(row))
            if name is None:
                waiting.append(row)
            else:
                found[name] = {**row, "label": name[3]}
        free = [name for name in labels if name not in found]
        for row, name in zip(sorted(waiting, key=lambda row: repr(_said(row))), free, strict=False):
            found[name] = {**row, "label": name[3]}
    return found


def _labels(key: _Key, rows: int, stored: Mapping[_Key, _Action], sent: Iterable[_Key]) -> list[_Key]:
    """Enough keys for the rows of a group: the vendor's own label, then numbered ones; all that are stored are among them."""
    *rest, label = key
    names, others = [key], set(sent) - {key}
    for number in count(2):
        name: _Key = (*rest, f"{label} ({number})")  # type: ignore[assignment]
        if name not in others:
            if len(names) >= rows and name not in stored:
                return names
            names.append(name)
    return names


def _key(row: Mapping[str, Any]) -> _Key:
    return row["symbol"], row["ex_date"], row["kind"], row["label"]


def _said(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in SAID)


def _doubtful(good: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Equal splits of one symbol within two weeks: a date that was moved, and both applied would be one too many."""
    splits = good.filter(pl.col("kind") == SPLIT).sort("symbol", "ex_date")
    pairs = splits.with_columns(
        pl.col("ex_date").shift().over("symbol", "split_to", "split_from", order_by="ex_date").alias("before")
    ).filter(pl.col("ex_date") - pl.col("before") <= _SAME_SPLIT_DAYS)
    found: dict[str, tuple[str, ...]] = {}
    for row in pairs.rows(named=True):
        ratio = f"{_plain(row['split_to'])}:{_plain(row['split_from'])}"
        said = f"the same split {ratio} on {row['before']} and on {row['ex_date']}"
        found[row["symbol"]] = (*found.get(row["symbol"], ()), said)
    return found


def _worst(bad: pl.DataFrame) -> tuple[Mapping[str, str], ...]:
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


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
