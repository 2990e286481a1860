"""Corporate actions as a vendor tells them, and as it told them at any earlier moment.

Belongs here: comparing an answer with what is stored, and committing what it says differently as new versions. An action is
(source, symbol, ex_date, kind, label); one that the vendor no longer returns gets a version that says `withdrawn`.
Does not belong here: whether an action makes sense (`quality.corporate_actions`), and what it does to prices (`market.adjust`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.bars import LATE
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS
from gb_pipeline.market.schema import ACTIONS_RECEIVED, SPLIT
from gb_pipeline.market.window import Window, as_window
from gb_pipeline.quality.corporate_actions import BAD, ActionsValidation, validate_actions
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.reading import valid_at
from gb_pipeline.storage.table import Tables

TABLE = CORPORATE_ACTIONS.name
KEY = ("symbol", "ex_date", "kind", "label")
# What an action says; `ratio` follows from the split's two numbers.
SAID = ("split_to", "split_from", "amount", "currency", "declared_date", "record_date", "pay_date")
# A vendor that moved a split to another day may list it under both for a while.
_SAME_SPLIT_DAYS = timedelta(days=14)
_WORST = 5
_TYPES = CORPORATE_ACTIONS.polars
# What there is to say of an action that holds, or held; when it ended is not among it.
HELD = pl.Schema({name: _TYPES[name] for name in (*CORPORATE_ACTIONS.columns.names, KNOWN_AT)})

_Action = dict[str, Any]
_Key = tuple[str, date, str, str]


@dataclass(frozen=True, slots=True)
class ActionsReport:
    """One `write_actions`; `received == new + restated + unchanged + quarantined + repeated + late`.

    Attributes:
        received: rows of the frame.
        new: actions that the lake did not hold.
        restated: actions that it held with another content, or as withdrawn; the old rows stay.
        unchanged: actions that it held with this content.
        withdrawn: actions that the vendor returns no more since this answer.
        quarantined: rows that were refused.
        repeated: rows that said the same as another row of the answer.
        late: rows that differ from what a later question brought; they changed nothing and are in quarantine.
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
    found = tables.newest(TABLE)
    files = found.select(
        {"source": source} if source is not None else None,
        between={"ex_date": between} if between else None,
        holding={"symbol": symbols} if symbols is not None else None,
    )
    cut = None if between is None else ("ex_date", *between)
    rows = reading.read(tables.storage, CORPORATE_ACTIONS, files, between=cut)
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
    """The actions that hold now, or held at a moment.

    Args:
        between: half-open range of ex dates.
        withdrawn: also those that the vendor no longer returned by then.

    Returns:
        Columns of `HELD`, `withdrawn` never null, sorted by source, symbol and ex date.
    """
    rows = history(tables, source, symbols, between).with_columns(pl.col("withdrawn").fill_null(False))
    return valid(rows, as_of, withdrawn=withdrawn).select(HELD.names())


def valid(rows: pl.DataFrame, as_of: datetime | None = None, *, withdrawn: bool = False) -> pl.DataFrame:
    """Of all versions, the ones that hold now or held at a moment."""
    held = pl.col("superseded_at").is_null() if as_of is None else valid_at(as_of, history=True)
    newest = rows.filter(held)
    return newest if withdrawn else newest.filter(~pl.col("withdrawn").fill_null(False))


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
    codes, asked = sorted(set(symbols)), as_window(window)
    days = _days(asked)
    verdict = validate_actions(frame, set(codes), *days)

    def refuse(rows: pl.DataFrame) -> None:
        at = max(*fetched_at.values(), clock())
        quarantine.record(tables, source, TABLE, asked, rows, at=at, run_id=run_id, clock=clock)

    refuse(verdict.bad)

    def decide(draft: Draft) -> tuple[ActionsReport, pl.DataFrame]:
        return _decide(draft, source, codes, days, verdict, fetched_at)

    report, late = commit(tables[TABLE], decide, clock=clock)
    refuse(late)
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
    verdict: ActionsValidation,
    fetched_at: Mapping[str, datetime],
) -> tuple[ActionsReport, pl.DataFrame]:
    """One attempt: read, compare, and fill the draft; the report, and what came too late as refused rows."""
    found = draft.base.select({"source": source}, between={"ex_date": window}, holding={"symbol": codes})
    files = reading.current_files(draft.base, found)
    held = reading.read(draft.table.storage, CORPORATE_ACTIONS, files, with_file=True)
    inside = (pl.col("ex_date") >= window[0]) & (pl.col("ex_date") < window[1])
    stored = held.filter(inside, pl.col("symbol").is_in(codes))
    changes, late, counts = _changes(source, verdict, stored, fetched_at)
    version = None
    if changes.height:
        version = draft.base.version + 1
        replaced = stored.join(changes.select(KEY), on=list(KEY), how="semi", maintain_order="left")
        revise(draft, changes.sort(KEY), replaced, files, held)
    bad = Counter((symbol, "quarantined") for symbol in verdict.bad["symbol"])
    counts += bad + Counter((symbol, "repeated") for symbol in verdict.repeated)
    total: Counter[str] = Counter()
    by_symbol: dict[str, Counter[str]] = {}
    for (symbol, what), number in counts.items():
        total[what] += number
        by_symbol.setdefault(symbol, Counter())[what] = number
    report = ActionsReport(
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
        late=total["late"],
        reasons=dict(Counter(reason for reasons in verdict.bad["reasons"].to_list() for reason in reasons)),
        worst=_worst(verdict.bad),
        doubtful=_doubtful(verdict.good),
        by_symbol=by_symbol,
        changed=changes,
        version=version,
    )
    return report, late


def _changes(
    source: str, verdict: ActionsValidation, there: pl.DataFrame, fetched_at: Mapping[str, datetime]
) -> tuple[pl.DataFrame, pl.DataFrame, Counter[tuple[str, str]]]:
    """The new versions, what came too late as refused rows, and how many actions of which symbol are what."""
    stored = {_key(row): row for row in there.rows(named=True)}
    counts: Counter[tuple[str, str]] = Counter()
    changes: list[_Action] = []
    overdue: list[_Action] = []

    def overtaken(before: _Action | None) -> bool:
        return before is not None and before["fetched_at"] > fetched_at[before["symbol"]]

    def append(action: _Action, *, gone: bool = False) -> None:
        changes.append({**action, "source": source, "withdrawn": gone, "fetched_at": fetched_at[action["symbol"]]})

    sent = _labelled(verdict.good, stored)
    for key, action in sent.items():
        before = stored.get(key)
        same = before is not None and not before["withdrawn"] and _said(before) == _said(action)
        late = not same and overtaken(before)
        what = "unchanged" if same else "late" if late else "new" if before is None else "restated"
        counts[key[0], what] += 1
        if late:
            overdue.append(_as_late(action))
        elif not same:
            append(action)
    for key, before in stored.items():
        refused = key[:3] in verdict.refused
        if key not in sent and not before["withdrawn"] and not refused and not overtaken(before):
            counts[key[0], "withdrawn"] += 1
            append(before, gone=True)
    names = CORPORATE_ACTIONS.columns.names
    types = {name: _TYPES[name] for name in names}
    new = pl.DataFrame([{name: row[name] for name in names} for row in changes], schema=types)
    return new, pl.DataFrame(overdue, schema=BAD), counts


def _as_late(action: _Action) -> _Action:
    ex_date = action["ex_date"]
    return {
        "symbol": action["symbol"],
        "session": ex_date,
        "timestamp": datetime.combine(ex_date, time(), UTC),
        "reasons": [LATE],
        "row": json.dumps({name: action[name] for name in ACTIONS_RECEIVED}, default=str),
    }


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
