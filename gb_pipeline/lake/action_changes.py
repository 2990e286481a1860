"""This module decides what a vendor's corporate actions mean for the stored ones. Nothing here reads or writes.

An action is (source, symbol, ex_date, kind, label). One that the vendor changed gets a new version, and one that it no longer
returns gets a version that says `withdrawn`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from itertools import count
from typing import Any

import polars as pl

from gb_pipeline.lake.datasets import CORPORATE_ACTIONS
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.quality.corporate_actions import BAD, ActionsValidation
from gb_pipeline.quality.reasons import FETCHED_BEFORE_STORED

KEY = ("symbol", "ex_date", "kind", "label")
# What an action says; `ratio` follows from the split's two numbers.
ACTION_CONTENT = ("split_to", "split_from", "amount", "currency", "declared_date", "record_date", "pay_date")
_TYPES = CORPORATE_ACTIONS.polars

_Action = dict[str, Any]
_Key = tuple[str, date, str, str]


def compare_actions(
    source: str, validation: ActionsValidation, stored_rows: pl.DataFrame, fetched_at: Mapping[str, datetime]
) -> tuple[pl.DataFrame, pl.DataFrame, Counter[tuple[str, str]]]:
    """Compare validated actions with the stored ones.

    Args:
        source: short name of the feed.
        validation: of the response.
        stored_rows: current versions of the requested symbols and ex dates.
        fetched_at: when each symbol was requested.

    Returns:
        The new versions, columns of the dataset `corporate_actions`; rows that came too late, columns of `BAD`; and how many
        actions of each symbol are new, restated, unchanged, late and withdrawn.
    """
    stored = {_key(row): row for row in stored_rows.rows(named=True)}
    counts: Counter[tuple[str, str]] = Counter()
    changes: list[_Action] = []
    late_rows: list[_Action] = []

    def overtaken(before: _Action | None) -> bool:
        return before is not None and before["fetched_at"] > fetched_at[before["symbol"]]

    def append(action: _Action, *, withdrawn: bool = False) -> None:
        changes.append({**action, "source": source, "withdrawn": withdrawn, "fetched_at": fetched_at[action["symbol"]]})

    sent = _labelled(validation.good, stored)
    for key, action in sent.items():
        before = stored.get(key)
        same = before is not None and not before["withdrawn"] and _content(before) == _content(action)
        late = not same and overtaken(before)
        change = "unchanged" if same else "late" if late else "new" if before is None else "restated"
        counts[key[0], change] += 1
        if late:
            late_rows.append(_as_late(action))
        elif not same:
            append(action)
    for key, before in stored.items():
        refused = key[:3] in validation.refused
        if key not in sent and not before["withdrawn"] and not refused and not overtaken(before):
            counts[key[0], "withdrawn"] += 1
            append(before, withdrawn=True)
    names = CORPORATE_ACTIONS.columns.names
    types = {name: _TYPES[name] for name in names}
    new = pl.DataFrame([{name: row[name] for name in names} for row in changes], schema=types)
    return new, pl.DataFrame(late_rows, schema=BAD), counts


def _as_late(action: _Action) -> _Action:
    ex_date = action["ex_date"]
    return {
        "symbol": action["symbol"],
        "session": ex_date,
        "timestamp": datetime.combine(ex_date, time(), UTC),
        "reasons": [FETCHED_BEFORE_STORED],
        "row": json.dumps({name: action[name] for name in ACTIONS_RECEIVED}, default=str),
    }


def _labelled(good: pl.DataFrame, stored: Mapping[_Key, _Action]) -> dict[_Key, _Action]:
    """Actions by key. Several of one day under one label become `label`, `label (2)`, ...

    One that is stored keeps its label whatever comes beside it; the others take the free ones in the order of what they
    say, so that the order of a response means nothing.
    """
    groups: dict[_Key, list[_Action]] = {}
    for row in good.rows(named=True):
        groups.setdefault(_key(row), []).append(row)
    labelled: dict[_Key, _Action] = {}
    for key, rows in groups.items():
        labels = _labels(key, len(rows), stored, groups)
        by_content = {_content(stored[name]): name for name in reversed(labels) if name in stored}
        unlabelled = []
        for row in rows:
            name = by_content.get(_content(row))
            if name is None:
                unlabelled.append(row)
            else:
                labelled[name] = {**row, "label": name[3]}
        free = [name for name in labels if name not in labelled]
        for row, name in zip(sorted(unlabelled, key=lambda row: repr(_content(row))), free, strict=False):
            labelled[name] = {**row, "label": name[3]}
    return labelled


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


def _content(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ACTION_CONTENT)
