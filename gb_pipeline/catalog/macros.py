"""This module writes the SQL of `bars(symbol, resolution, start, end)` and `bars_as_of(symbol, resolution, start, end, moment)`.

Both return the bars of one symbol in a half-open range, each bar once, whoever delivered it, as `Lake.bars` does. Every column
in them is written with its table, because a bare `symbol` would be the macro's argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gb_pipeline.catalog.best_bars import best_rows
from gb_pipeline.catalog.stream_views import RAW, StreamView
from gb_pipeline.storage.snapshot import Snapshot

MACROS = ("bars", "bars_as_of")
# Of a stream's table: `trades_of(symbol, start, end)`.
STREAM_MACRO = "_of"


def bar_macros(stored: Mapping[str, Sequence[Snapshot]], priority: Sequence[str]) -> dict[str, str]:
    """`create` statements by name; none without a table of bars.

    Args:
        stored: the tables behind each view of bars, `bars_1m` for example.
        priority: names of sources, the one that answers first at the beginning.
    """
    if not stored:
        return {}
    arguments = 'symbol, resolution, start := null, "end" := null'
    now = {name: best_rows(name, parts, priority, where=_within) for name, parts in stored.items()}
    then = {
        name: best_rows(f"{name}_as_of({_utc('moment')})", parts, priority, where=_within)
        for name, parts in stored.items()
    }
    return {
        "bars": f"create macro bars({arguments}) as table {_of_resolution(now)}",
        "bars_as_of": f'create macro bars_as_of(symbol, resolution, start, "end", moment) as table {_of_resolution(then)}',
    }


def stream_macros(views: Mapping[str, StreamView]) -> dict[str, str]:
    """`create` statements by name: what a reader sees of one symbol in a half-open range.

    Args:
        views: of the tables of trades, quotes and books, by their names.
    """
    arguments = 'symbol, start := null, "end" := null'
    within = _within("rows", whole_days=False)
    created = {}
    for table, view in views.items():
        around = f"(select rows.* from {RAW}{table} as rows where {_around('rows')})"
        created[f"{table}{STREAM_MACRO}"] = (
            f"create macro {table}{STREAM_MACRO}({arguments}) as table"
            f" select rows.* from ({view.select(around)}) as rows where {within}"
        )
    return created


def _of_resolution(bodies: Mapping[str, str]) -> str:
    """The rows of the table of the resolution that is asked for; DuckDB drops the other ones before it reads anything."""
    resolutions = [name.removeprefix("bars_") for name in bodies]
    listed = ", ".join(f"'{resolution}'" for resolution in resolutions)
    branches = [
        f"select * from ({body}) as found where resolution = '{resolution}'"
        for resolution, body in zip(resolutions, bodies.values(), strict=True)
    ]
    message = f"coalesce('no bars of resolution ' || resolution, 'name a resolution') || ': there is {', '.join(resolutions)}'"
    check = f"case when resolution in ({listed}) then false else cast(error({message}) as boolean) end"
    first = next(iter(bodies))
    nothing = f"select nothing.* from (select 1) as one left join (select * from {first} limit 0) as nothing on true where {check}"
    return " union all ".join([*branches, nothing])


def _utc(argument: str) -> str:
    """A moment out of text, a date or a timestamp: without a zone it is in UTC, whatever the time zone of the session is."""
    return f"timezone('UTC', cast(cast({argument} as varchar) as timestamp))"


def _day(argument: str, more: str = "") -> str:
    return f"timezone('UTC', date_trunc('day', cast(cast({argument} as varchar) as timestamp)){more})"


def _within(rows: str, *, whole_days: bool) -> str:
    """A condition on the symbol and the times of a table's rows."""
    start, end = (_day("start"), _day('"end"', " + interval 1 day")) if whole_days else (_utc("start"), _utc('"end"'))
    return (
        f"{rows}.symbol = symbol and (start is null or {rows}.timestamp >= {start})"
        f' and ("end" is null or {rows}.timestamp < {end})'
    )


def _around(rows: str) -> str:
    """`_within` with a minute more on both sides: of a trade that two collectors heard, one may lie beyond the edge."""
    start, end = (f"{_utc(edge)} {sign} interval 1 minute" for edge, sign in (("start", "-"), ('"end"', "+")))
    return (
        f"{rows}.symbol = symbol and (start is null or {rows}.timestamp >= {start})"
        f' and ("end" is null or {rows}.timestamp < {end})'
    )
