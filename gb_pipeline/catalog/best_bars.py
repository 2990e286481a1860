"""This module writes the SQL of `best_bars_<resolution>`: bars of all sources, each once.

For every symbol and UTC day the first source, in the order of priority, that has a bar on it gives all bars of that day;
`reading.priority` does the same for frames.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def best_rows(rows: str, snapshots: Sequence[Snapshot], priority: Sequence[str]) -> str:
    """A query of the rows of a view or macro, each bar once.

    Args:
        rows: what stands in a FROM clause.
        snapshots: the tables behind it, which say whose bars there are.
        priority: sources, the one that is asked first at the beginning.
    """
    stored = {str(source) for snapshot in snapshots for source in snapshot.files["source"].unique()}
    if len(stored) < 2:
        return f"select * from {rows}"
    listed = ", ".join(f"'{source}'" for source in in_order(sorted(stored), priority))
    # Whatever the time zone of the session is: a day of UTC.
    day = "make_timestamp(epoch_us(timestamp))::date"
    return f"""
        select bars.* from {rows} as bars join (
            select symbol, day, arg_min(source, list_position([{listed}], source)) as source
            from (select distinct source, symbol, {day} as day from {rows}) group by symbol, day
        ) as best on bars.source = best.source and bars.symbol = best.symbol
            and make_timestamp(epoch_us(bars.timestamp))::date = best.day
    """
