"""This module writes the SQL of `best_bars_<resolution>`: bars of all sources, each once.

For every symbol and UTC day the first source, in the order of priority, that has a bar on it gives all bars of that day;
`reading.priority` does the same for frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage.snapshot import Snapshot


def best_name(table: str) -> str | None:
    """`best_bars_1d` of `bars_1d`; None for anything but the standard table of a resolution."""
    kind = parse_bar_table(table)
    return f"best_{table}" if kind and kind[1] is Precision.STANDARD else None


def in_order(sources: Sequence[str], priority: Sequence[str]) -> list[str]:
    """Sources by priority, then those that it does not name, by their names."""
    named = [source for source in priority if source in sources]
    return [*named, *sorted(set(sources) - set(named))]


class Condition(Protocol):
    """What rows have to meet, written for a name of their table; for whole days, whatever else is on these days."""

    def __call__(self, rows: str, *, whole_days: bool) -> str:
        """SQL that is true or false of each row."""


def best_rows(
    rows: str, snapshots: Sequence[Snapshot], priority: Sequence[str], *, where: Condition | None = None
) -> str:
    """A query of the rows of a view or macro, each bar once.

    Args:
        rows: what stands in a FROM clause.
        snapshots: the tables behind it, which say whose bars there are.
        priority: sources, the one that is asked first at the beginning.
        where: which rows are wanted; by default all.
    """
    stored = {str(source) for snapshot in snapshots for source in snapshot.files["source"].unique()}
    wanted = "" if where is None else f" where {where('bars', whole_days=False)}"
    if len(stored) < 2:
        return f"select bars.* from {rows} as bars{wanted}"
    listed = ", ".join(f"'{source}'" for source in in_order(sorted(stored), priority))
    rivals = "" if where is None else f" where {where('these', whole_days=True)}"
    return f"""
        select bars.* from {rows} as bars join (
            select each.symbol, each.day, arg_min(each.source, list_position([{listed}], each.source)) as source
            from (select distinct these.source, these.symbol, {_day("these")} as day from {rows} as these{rivals}) as each
            group by each.symbol, each.day
        ) as best on bars.source = best.source and bars.symbol = best.symbol and {_day("bars")} = best.day{wanted}
    """


def _day(rows: str) -> str:
    """A day of UTC, whatever the time zone of the session is."""
    return f"make_timestamp(epoch_us({rows}.timestamp))::date"
