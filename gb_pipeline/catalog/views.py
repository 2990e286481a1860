"""This module writes the SQL of the catalog's views, over the exact files that the logs list.

For every table with history, `<name>` is what is valid now, `<name>_history` every version, and `<name>_as_of(moment)` what was
valid at a moment. `bars_<resolution>` is what `Lake.bars` returns: where a source stores wide decimals, it unites both precisions
and a wide row takes the place of its standard sibling; `bars_<resolution>_wide` is the wide table alone. `best_bars` has the SQL
of the views that hold each bar once, whoever delivered it, and `stream_views` that of `trades` and the like, whose rows as stored
are `raw_trades`. `restatements` pairs neighbouring versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from gb_pipeline.catalog.best_bars import best_name, best_rows
from gb_pipeline.catalog.connection import lake_place
from gb_pipeline.catalog.macros import bar_macros, stream_macros
from gb_pipeline.catalog.stream_views import RAW, StreamView
from gb_pipeline.lake.datasets import STREAM_TABLES, bars_dataset, parse_bar_table, stream_dataset
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema
from gb_pipeline.storage import reading
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset
from gb_pipeline.storage.evolution import lacks_columns
from gb_pipeline.storage.snapshot import Snapshot, empty_snapshot

_KEYS = ("source", "symbol", "timestamp")
# DuckDB's names of Arrow's types.
_PLAIN = {
    **dict.fromkeys((pa.string(), pa.large_string(), pa.string_view()), "varchar"),
    **dict.fromkeys((pa.binary(), pa.large_binary()), "blob"),
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.uint8(): "utinyint",
    pa.uint16(): "usmallint",
    pa.uint32(): "uinteger",
    pa.uint64(): "ubigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
}
# The rows of a table's files, as a part of a query: all, or those of current versions.
Rows = Callable[[Snapshot, bool], str]


def build_statements(
    snapshots: Sequence[Snapshot],
    rows: Rows,
    *,
    skip: Sequence[str] = (),
    as_of: datetime | None = None,
    priority: Sequence[str] = (),
    lost: Mapping[str, str] | None = None,
    streams: Mapping[str, StreamView] | None = None,
) -> dict[str, str]:
    """`create` statements by the name of the view or macro, in an order in which they can be run.

    Args:
        snapshots: the tables to show.
        rows: how the files of one are read.
        skip: names that are taken.
        as_of: views show what was known at this moment.
        priority: names of sources, the one that answers first at the beginning.
        lost: conditions by table which the moment of a macro has to meet.
        streams: what the views of trades, quotes and books have to know, by table; others have only `raw_<name>`.
    """
    created: dict[str, str] = {}
    by_name = _with_standard_siblings(snapshots)
    bars: dict[str, list[Snapshot]] = {}
    for name, snapshot in by_name.items():
        if not snapshot.dataset.history:
            if name not in skip:
                body = rows(snapshot, as_of is None)
                is_stream = name in STREAM_TABLES
                if name.removesuffix("_wide") in STREAM_TABLES:
                    body = _stream(snapshot, by_name.get(f"{name}_wide"), rows)
                shown = f"{RAW}{name}" if is_stream else name
                created[shown] = f"create view {shown} as {body if as_of is None else _known_at(body, as_of)}"
                if is_stream and name in (streams or {}):
                    created[name] = f"create view {name} as {(streams or {})[name].select(shown)}"
            continue
        wide = by_name.get(f"{name}_wide") if parse_bar_table(name) else None
        history = _visible_rows(snapshot, rows, current=False)
        if wide is not None and wide.files.height:
            history = _unite_history(history, _visible_rows(wide, rows, current=False))
        created[f"{name}_history"] = (
            f"create view {name}_history as {history if as_of is None else _known_at(history, as_of, history=True)}"
        )
        then = _valid_at(snapshot, wide, rows, "ts")
        conditions = [condition for table in (name, f"{name}_wide") if (condition := (lost or {}).get(table))]
        if conditions:
            then = f"select * from ({then}) where {' and '.join(conditions)}"
        created[f"{name}_as_of"] = f"create macro {name}_as_of(ts) as table {then}"
        if name not in skip:
            body = _current(snapshot, wide, rows) if as_of is None else _valid_at(snapshot, wide, rows, _moment(as_of))
            created[name] = f"create view {name} as {body}"
            best = best_name(name)
            if best is not None:
                parts = [snapshot] if wide is None else [snapshot, wide]
                created[best] = f"create view {best} as {best_rows(name, parts, priority)}"
                rows_then = best_rows(f"{name}_as_of(ts)", parts, priority)
                created[f"{best}_as_of"] = f"create macro {best}_as_of(ts) as table {rows_then}"
                bars[name] = parts
    created |= bar_macros(bars, priority) | stream_macros(
        {name: view for name, view in (streams or {}).items() if name in created}
    )
    if "restatements" not in skip:
        tables = [name for name in by_name if (kind := parse_bar_table(name)) and kind[1] is Precision.STANDARD]
        created["restatements"] = f"create view restatements as {_restatements(tables)}"
    return created


def _with_standard_siblings(snapshots: Sequence[Snapshot]) -> dict[str, Snapshot]:
    """Tables by name; where a lake has only wide bars of a resolution, their standard sibling is there without a row."""
    by_name: dict[str, Snapshot] = {}
    present = {snapshot.dataset.name for snapshot in snapshots}
    for snapshot in snapshots:
        kind = parse_bar_table(snapshot.dataset.name)
        if kind is not None and kind[1] is Precision.WIDE:
            standard = bars_dataset(kind[0])
            if standard.name not in present:
                by_name[standard.name] = empty_snapshot(standard)
        stream = snapshot.dataset.name.removesuffix("_wide")
        if stream in STREAM_TABLES and stream not in present:
            by_name[stream] = empty_snapshot(stream_dataset(stream))
        by_name[snapshot.dataset.name] = snapshot
    return by_name


def parquet_rows(storage: Storage) -> Rows:
    """Rows read by DuckDB itself, which does not verify checksums."""

    def rows(snapshot: Snapshot, current: bool) -> str:
        files = reading.current_files(snapshot) if current else snapshot.files
        lacking = snapshot.version >= 0 and lacks_columns(snapshot.dataset, snapshot.metadata)
        return _select(storage, snapshot.dataset, files["path"].to_list(), lacking=lacking)

    return rows


def registered_rows(names: Mapping[tuple[str, bool], str]) -> Rows:
    """Rows of Arrow datasets that are registered under a name each, by table and whether only current versions are meant."""

    def rows(snapshot: Snapshot, current: bool) -> str:
        if snapshot.version < 0:
            return _no_rows(snapshot.dataset)
        columns = _columns(snapshot.dataset.schema.names, "these")
        return f"select {columns} from {names[snapshot.dataset.name, current]} as these"

    return rows


def error_view(name: str, schema: pa.Schema, reason: str) -> str:
    """A `create` statement for a table whose contents are not known: a query of it fails with the reason."""
    raise_error = f"error({_quote(' '.join(reason.split()))})"
    columns = ", ".join(f'cast({raise_error} as {_type(field.type)}) as "{field.name}"' for field in schema)
    return f"create view {name} as select {columns} where {raise_error} is null"


def _unite(standard: str, wide: str) -> str:
    """Both precisions in the wider types; a wide row takes the place of its standard sibling.

    A left join instead of `not exists`: only through it do DuckDB's filters on keys reach both sides.
    """
    same = " and ".join(f"replaced.{key} = standard.{key}" for key in _KEYS)
    return f"""
        select {_columns(bar_schema(Precision.WIDE).names, "wide")} from ({wide}) as wide
        union all
        select {_casts("standard")} from ({standard}) as standard
            left join (select {_columns(_KEYS, "wide")}, true as is_wide from ({wide}) as wide) as replaced on {same}
        where replaced.is_wide is null
    """


def _stream(snapshot: Snapshot, wide: Snapshot | None, rows: Rows) -> str:
    """Rows of trades, quotes or books of both precisions, in the wider types where there are wide ones; none is in both."""
    standard = _visible_rows(snapshot, rows, current=True)
    if wide is None or wide.files.is_empty():
        return standard
    kinds = {field.name: field.type for field in wide.dataset.schema if pa.types.is_decimal(field.type)}
    casts = ", ".join(f'cast({name} as {_type(kind)}) as "{name}"' for name, kind in kinds.items())
    return f"select * replace ({casts}) from ({standard}) union all by name {_visible_rows(wide, rows, current=True)}"


def _unite_history(standard: str, wide: str) -> str:
    """Every version of both precisions in the wider types; a standard row ends when a wide one takes its place."""
    keys = ", ".join(_KEYS)
    return f"""
        select {_casts("ended")} from (
            select * replace (least(superseded_at, taken_at) as superseded_at) from ({standard})
            left join (select {keys}, min(known_at) as taken_at from ({wide}) group by all) using ({keys})
        ) as ended
        union all
        {wide}
    """


def _visible_rows(snapshot: Snapshot, rows: Rows, *, current: bool) -> str:
    """The columns that a reader sees, without those of the layout."""
    hidden = {"period", IS_CURRENT}
    names = [name for name in snapshot.dataset.schema.names if name not in hidden]
    return f"select {_columns(names, 'shown')} from ({rows(snapshot, current)}) as shown"


def _current(snapshot: Snapshot, wide: Snapshot | None, rows: Rows) -> str:
    standard = _visible_rows(snapshot, rows, current=True)
    if wide is None or wide.files.is_empty():
        return standard
    return _unite(standard, _visible_rows(wide, rows, current=True))


def _valid_at(snapshot: Snapshot, wide: Snapshot | None, rows: Rows, moment: str) -> str:
    """What was valid at a moment: a literal, or the argument of a macro."""

    def versions(table: Snapshot) -> str:
        history = _visible_rows(table, rows, current=False)
        # At that moment nobody knew what would supersede these versions.
        return (
            f"select * replace (cast(null as timestamp with time zone) as superseded_at) from ({history}) as versions"
            f" where versions.known_at <= {moment} and (versions.superseded_at is null or versions.superseded_at > {moment})"
        )

    return versions(snapshot) if wide is None or wide.files.is_empty() else _unite(versions(snapshot), versions(wide))


def _known_at(rows: str, moment: datetime, *, history: bool = False) -> str:
    """Rows that were known at a moment, and of their ends those that had come."""
    ends = f"case when superseded_at <= {_moment(moment)} then superseded_at end as superseded_at"
    return f"select *{f' replace ({ends})' if history else ''} from ({rows}) where known_at <= {_moment(moment)}"


def _moment(moment: datetime) -> str:
    return f"timestamptz '{moment.astimezone(UTC).isoformat()}'"


def _casts(table: str) -> str:
    return ", ".join(
        f"cast({table}.{field.name} as {_type(field.type)}) as {field.name}" for field in bar_schema(Precision.WIDE)
    )


def _restatements(tables: Sequence[str]) -> str:
    decimal = _type(pa.decimal128(*Precision.WIDE.digits))
    types = {name: "bigint" if name == "trade_count" else decimal for name in CONTENT}
    old = ", ".join(f"cast(old.{name} as {kind}) as old_{name}" for name, kind in types.items())
    new = ", ".join(f"cast(new.{name} as {kind}) as new_{name}" for name, kind in types.items())
    differs = " or ".join(f"old.{name} is distinct from new.{name}" for name in CONTENT)
    same = " and ".join(f"old.{key} = new.{key}" for key in _KEYS)
    bodies = [
        f"select old.source, old.symbol, '{name.removeprefix('bars_')}' as resolution, old.timestamp, {old}, {new},"
        f" old.known_at as first_known, new.known_at as replaced_at, epoch_us(new.known_at) - epoch_us(old.known_at) as delay"
        f" from {name}_history as old join {name}_history as new on {same} and old.superseded_at = new.known_at"
        f" where old.superseded_at is not null and ({differs})"
        for name in tables
    ]
    if bodies:
        return " union all ".join(bodies)
    columns = [f"cast(null as varchar) as {name}" for name in ("source", "symbol", "resolution")]
    columns.append("cast(null as timestamp with time zone) as timestamp")
    columns += [
        f"cast(null as {kind}) as {version}_{name}" for version in ("old", "new") for name, kind in types.items()
    ]
    columns += [f"cast(null as timestamp with time zone) as {name}" for name in ("first_known", "replaced_at")]
    return f"select {', '.join(columns)}, cast(null as bigint) as delay where false"


def _select(storage: Storage, dataset: Dataset, paths: Sequence[str], *, lacking: bool) -> str:
    """Rows of some files; `lacking` where one of them may lack a column, for which DuckDB has to open each of them."""
    if not paths:
        return _no_rows(dataset)
    place = f"{lake_place(str(storage.root))} || {_quote(f'/{storage.table_name(dataset.name)}/')}"
    # One text instead of 100,000 list items: DuckDB then plans a query in half the time.
    files = f"list_transform(string_split({_quote(chr(10).join(paths))}, chr(10)), lambda file: {place} || file)"
    hive = ", ".join(f"'{name}': {_type(dataset.schema.field(name).type)}" for name in dataset.partitions)
    options = f", hive_partitioning = true, hive_types = {{{hive}}}" if hive else ""
    names = _columns(dataset.schema.names, "these")
    if lacking:
        rows = f"select * from read_parquet({files}{options}, union_by_name = true)"
        return f"select {names} from ({_no_rows(dataset)} union all by name {rows}) as these"
    return f"select {names} from read_parquet({files}{options}) as these"


def _no_rows(dataset: Dataset) -> str:
    typed = ", ".join(f'cast(null as {_type(field.type)}) as "{field.name}"' for field in dataset.schema)
    return f"select {typed} where false"


def _type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp with time zone"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"{_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = (f'"{field.name}" {_type(field.type)}' for field in kind)
        return f"struct({', '.join(fields)})"
    return _PLAIN[kind]


def _columns(names: Iterable[str], table: str) -> str:
    """Columns quoted for a query, as some may be words of SQL, and with their table, as a macro's argument may be called so."""
    return ", ".join(f'{table}."{name}"' for name in names)


def _quote(value: str) -> str:
    """A SQL text literal."""
    return "'" + value.replace("'", "''") + "'"
