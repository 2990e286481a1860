"""Questions in DuckDB's SQL, for its own tables and for Parquet files alike.

This runs in the peers' environment as well as in ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from benchmarks.peers import numbers
from benchmarks.peers.questions import EXTENT, HOURS, LATEST, Question

_HOURLY = {
    "open": "arg_min(open, timestamp)",
    "high": "max(high)",
    "low": "min(low)",
    "close": "arg_max(close, timestamp)",
    "volume": "sum(volume)",
}


def ask(database: Any, relation: str, question: Question, *, in_order: bool) -> dict[str, Any]:
    """Columns as arrays of NumPy.

    Args:
        relation: what is selected from: columns `symbol`, `timestamp` (UTC, without a zone) and numbers.
        in_order: whether rows of a symbol come in the order of time by themselves.
    """
    several = len(question.symbols) > 1
    if question.kind == EXTENT:
        selected = "symbol, count(*) as bars, min(timestamp) as first, max(timestamp) as last"
        return _fetch(
            database, f"select {selected} from {relation} where symbol in ? group by symbol", [question.symbols]
        )
    if question.kind == LATEST:
        last = ", ".join(f"arg_max({name}, timestamp) as {name}" for name in question.columns)
        selected = f"symbol, max(timestamp) as timestamp, {last}"
        return _fetch(
            database, f"select {selected} from {relation} where symbol in ? group by symbol", [question.symbols]
        )
    named = "symbol in ?" if several else "symbol = ?"
    first = list(question.symbols) if several else question.symbols[0]
    edges = [first, question.start.replace(tzinfo=None), question.end.replace(tzinfo=None)]
    where = f"from {relation} where {named} and timestamp >= ? and timestamp < ?"
    if question.kind == HOURS:
        values = ", ".join(f"{_HOURLY[name]} as {name}" for name in question.columns)
        hour = "date_trunc('hour', timestamp)"
        return _fetch(database, f"select {hour} as timestamp, {values} {where} group by 1 order by 1", edges)
    selected = ", ".join((*(["symbol"] if several else []), "timestamp", *question.columns))
    order = "" if in_order else f" order by {'symbol, ' if several else ''}timestamp"
    return _fetch(database, f"select {selected} {where}{order}", edges)


def _fetch(database: Any, query: str, values: list[Any]) -> dict[str, Any]:
    values = [list(value) if isinstance(value, tuple) else value for value in values]
    fetched: dict[str, Any] = database.execute(query, values).fetchnumpy()
    return fetched


def columns(answer: dict[str, Any]) -> Iterator[Any]:
    """Every number, and timestamps as whole numbers."""
    for name, values in answer.items():
        if name != "symbol":
            yield values.view("int64") if values.dtype.kind == "M" else values


def rows(answer: dict[str, Any], question: Question) -> pa.Table:
    """As rows that can be compared."""
    symbols = answer["symbol"] if "symbol" in answer else question.symbols[0]
    if question.kind == EXTENT:
        return numbers.extents(symbols, answer["bars"], answer["first"], answer["last"])
    return numbers.rows(symbols, answer["timestamp"], {name: answer[name] for name in question.columns})
