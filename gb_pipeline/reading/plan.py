"""This module turns a question into the files that answer it, and the lazy query of each series, now or as of a moment.

Files are chosen by the log's statistics, and standard and wide tables are united; no folder is ever listed. Running the query is
left to `execute`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, cached_property

import polars as pl

from gb_pipeline.errors import ConfigError, NoDataInRange
from gb_pipeline.lake import ledger, removals
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.precisions import unite
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import EARLIEST, LATEST
from gb_pipeline.reading.series import known_series, runs_in, stored_series, unknown_series_error
from gb_pipeline.reading.stored_rows import StoredRows
from gb_pipeline.storage import reading
from gb_pipeline.storage.losses import lost_error, read_losses
from gb_pipeline.storage.snapshot import choose, files_of_series, in_order
from gb_pipeline.storage.table import Table, Tables


@dataclass(frozen=True)
class Question:
    """What is asked: symbols in their order, each once, of one resolution in a half-open window.

    `symbols` empty means every symbol of the source; `series` are the only ones (source and symbol) that may answer. `told_at` is
    the moment as of which splits, and fetches of them, are known; that of the bars by default.
    """

    symbols: tuple[str, ...]
    resolution: Resolution
    window: Window
    source: str | None = None
    as_of: datetime | None = None
    series: frozenset[tuple[str, str]] | None = None
    told_at: datetime | None = None


@dataclass(frozen=True)
class Part:
    """The rows of one series, or of all symbols of one source where a file holds many.

    Attributes:
        source: where they come from.
        symbol: None where `rows` has a column `symbol`.
        content: every column of the bars' schema except `source`, `period` and what the part's own fields say: rows as they are
            stored, or a query where something was done to them.
    """

    source: str
    symbol: str | None
    content: StoredRows | pl.LazyFrame

    @cached_property
    def rows(self) -> pl.LazyFrame:
        """The content as a query."""
        return self.content.scan() if isinstance(self.content, StoredRows) else self.content

    def converted(self, convert: Callable[[pl.DataFrame], pl.DataFrame]) -> Part:
        """The part with its rows changed by a function that needs all of their columns, and keeps these."""
        rows = self.rows.map_batches(
            convert,
            schema=self.rows.collect_schema(),
            predicate_pushdown=False,
            projection_pushdown=False,
            slice_pushdown=False,
        )
        return replace(self, content=rows)


@dataclass(frozen=True)
class Plan:
    """The parts in the order of source and symbol, and the precision that all of them have."""

    parts: tuple[Part, ...]
    precision: Precision

    @property
    def schema(self) -> pl.Schema:
        """Columns that an answer can have, in order."""
        return _columns_of_bars(self.precision)


@cache
def _columns_of_bars(precision: Precision) -> pl.Schema:
    return polars_schema(bar_schema(precision))


def make_plan(tables: Tables, question: Question) -> Plan:
    """Find the files.

    Raises:
        UnknownSeries: a symbol has no bars of this resolution; the message says what resembles it.
    """
    listed = {precision: select_files(tables, question, precision) for precision in Precision}
    wanted = _find_series(tables, question, listed)
    if question.series is not None:
        wanted = [series for series in wanted if series in question.series]
    precision = Precision.WIDE if listed[Precision.WIDE].height else Precision.STANDARD
    if question.resolution.intraday and len(wanted) <= _FEW:
        # Where only one series was asked for, all files that were found are its own.
        alone = len(wanted) == 1 and question.source is not None and len(question.symbols) == 1
        parts = [_plan_one(tables, question, listed, precision, *series, alone=alone) for series in wanted]
        return Plan(tuple(parts), precision)
    sources = dict.fromkeys(source for source, _ in wanted)
    parts = [
        _plan_many(tables, question, listed, precision, name, [code for source, code in wanted if source == name])
        for name in sources
    ]
    return Plan(tuple(parts), precision)


# Up to so many series are read by a query each, whose rows need no sorting and no column for the symbol.
_FEW = 8
# Of so many files, a query finds the distinct symbols sooner.
_MANY = 1_000
# Files of one table, as rows of `Snapshot.files`.
_Listed = dict[Precision, pl.DataFrame]


def select_files(tables: Tables, question: Question, precision: Precision) -> pl.DataFrame:
    """Files of one table that may hold such rows; one version of the table."""
    snapshot = tables.newest(bars_dataset(question.resolution, precision).name)
    if snapshot.version < 0:
        return snapshot.files
    window = question.window
    files = snapshot.select(
        {} if question.source is None else {"source": question.source},
        between=None if (window.start, window.end) == (EARLIEST, LATEST) else {"timestamp": (window.start, window.end)},
        holding={"symbol": question.symbols} if question.symbols else None,
        current=question.as_of is None,
    )
    if question.as_of is not None:
        _refuse_lost(tables[snapshot.dataset.name], question, question.as_of)
        files = reading.files_valid_at(files, question.as_of)
    return files


def _refuse_lost(table: Table, question: Question, moment: datetime) -> None:
    """Raise where versions that held at the moment are lost for good: fewer bars would read as all that were known."""
    window = question.window
    for loss in read_losses(table):
        if loss.concerns(question.source, question.symbols, window.start, window.end, moment):
            raise lost_error(loss, moment)


def _find_series(tables: Tables, question: Question, listed: _Listed) -> list[tuple[str, str]]:
    """Source and symbol of every series that may answer, sorted by symbol; without a source, of all that have it."""
    if question.source is not None and question.symbols:
        stored_codes = {code for kind, files in listed.items() for code in _codes_in(tables, question, kind, files)}
        if stored_codes.issuperset(question.symbols):
            return [(question.source, code) for code in sorted(question.symbols)]
    stored = stored_series(tables, question.resolution, question.symbols or None, question.source, question.as_of)
    codes = sorted(question.symbols or stored["symbol"].unique().to_list())
    missing = set(codes) - set(stored["symbol"])
    if missing:
        _refuse_unknown(tables, question, sorted(missing))
    return list(stored.sort("symbol", "source").rows())


def _codes_in(tables: Tables, question: Question, precision: Precision, files: pl.DataFrame) -> Iterable[str]:
    """The symbols that some files hold."""
    if question.resolution.intraday:
        codes = files["symbol"]
        return codes.unique() if len(codes) > _MANY else set(codes)
    table = tables[bars_dataset(question.resolution, precision).name]
    return (code for runs in runs_in(table, files) for code in runs) if files.height else ()


def _refuse_unknown(tables: Tables, question: Question, missing: Sequence[str]) -> None:
    """Raise for a name that nobody knows; a series that is only empty so far is known."""
    known = known_series(tables)
    same = known.filter(pl.col("resolution") == question.resolution.value)
    if question.source is not None:
        same = same.filter(pl.col("source") == question.source)
    for code in missing:
        if code not in same["symbol"]:
            raise unknown_series_error(known, code, question.resolution, question.source)


def _plan_one(
    tables: Tables,
    question: Question,
    listed: _Listed,
    precision: Precision,
    source: str,
    symbol: str,
    *,
    alone: bool,
) -> Part:
    """One series that has its own files: they say the symbol, which is therefore not read."""
    rows = {}
    for kind, files in listed.items():
        if precision is Precision.WIDE or kind is precision:
            mine = files if alone else files_of_series(files, source, symbol)
            rows[kind] = _rows_of(tables, question, kind, mine, without=("source", "symbol"))
    return Part(source, symbol, _unite(rows, precision, ["timestamp"]))


def _plan_many(
    tables: Tables, question: Question, listed: _Listed, precision: Precision, source: str, symbols: list[str]
) -> Part:
    """Many series in one query: hundreds of small ones would cost more than what is in them."""
    intraday = question.resolution.intraday
    whole = intraday or (not question.symbols and question.series is None)
    rows = {}
    for kind, files in listed.items():
        if precision is Precision.STANDARD and kind is not precision:
            continue
        mine = files if question.source is not None else choose(files, [files["source"] == source])
        if intraday:
            mine = mine.filter(pl.col("symbol").is_in(symbols))
        stored = _rows_of(tables, question, kind, mine, without=("source",))
        # Files of daily bars hold symbols that nobody asked for, unless all are wanted.
        rows[kind] = stored if whole else _of_symbols(tables, stored, symbols)
    alone = symbols[0] if len(symbols) == 1 and not whole else None
    return Part(source, alone, _unite(rows, precision, ["symbol", "timestamp"]))


def _of_symbols(tables: Tables, stored: StoredRows, symbols: list[str]) -> StoredRows:
    """Rows of files that hold many symbols, of some of them; of a single one it is known where they lie."""
    if len(symbols) > 1:
        return replace(stored, symbols=tuple(symbols))
    paths = stored.files["path"].to_list()
    runs = [found.get(symbols[0]) for found in runs_in(tables[stored.dataset.name], stored.files)]
    # A file is written in the order of its symbols; one by another hand need not be.
    together = all(run is None or run[1] - run[0] == run[2] for run in runs)
    stretches = {path: run[:2] for path, run in zip(paths, runs, strict=True) if run is not None}
    return replace(stored, symbols=(symbols[0],), stretches=stretches if together else None)


def _rows_of(
    tables: Tables, question: Question, precision: Precision, files: pl.DataFrame, *, without: Sequence[str]
) -> StoredRows:
    """Rows of one table, filtered by time only where a file may hold more than was asked for."""
    names = tuple(name for name in bar_schema(precision).names if name not in without)
    dataset = bars_dataset(question.resolution, precision)
    return StoredRows(tables.storage, dataset, in_order(files), names, question.window, question.as_of)


def _unite(rows: dict[Precision, StoredRows], precision: Precision, key: list[str]) -> StoredRows | pl.LazyFrame:
    """Both tables in the types of the precision."""
    standard = rows[Precision.STANDARD]
    if precision is Precision.STANDARD:
        return standard
    return unite(rows[precision].scan(), standard.scan(), key)


def no_data_error(tables: Tables, question: Question) -> NoDataInRange:
    """The error for a range without a row: what there is instead, and what the ledger says about the range."""
    symbols = list(question.symbols) or None
    edges = []
    anywhere = replace(question, window=Window(EARLIEST, LATEST))
    for precision in Precision:
        files = select_files(tables, anywhere, precision)
        rows = _rows_of(tables, anywhere, precision, files, without=("source",)).scan()
        if symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(symbols))
        edges.append(rows.select(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")))
    spans = pl.concat(edges).collect().drop_nulls()
    available = None if spans.is_empty() else (spans["first"].min(), spans["last"].max())
    requested = f"{', '.join(question.symbols[:5]) or question.source} {question.resolution} in {_format_window(question.window)}"
    if question.as_of is not None:
        # What the ledger says now about the range is no account of what was known then.
        what = f"no bars of {requested} as known at {question.as_of.isoformat()}"
    else:
        what = f"no bars of {requested}{_session_counts(tables, question)}"
    if available is None:
        later = "nothing of it was known at that moment: name a later one, or leave as_of out for what is known now"
        now = "nothing is stored yet: fetch it"
        if question.as_of is None and not removals.read(tables, question.source, symbols).is_empty():
            now = "bars were removed on purpose: `gb removals` says why, and `gb fetch --again` brings them back"
        return NoDataInRange(what, fix=now if question.as_of is None else later)
    first, last = (moment.isoformat() for moment in available)  # type: ignore[union-attr]
    return NoDataInRange(what, available=available, fix=f"there are bars from {first} to {last}")  # type: ignore[arg-type]


def _session_counts(tables: Tables, question: Question) -> str:
    """` (2 sessions closed, 1 session failed)`, or nothing where the ledger knows nothing."""
    window = question.window
    until = (
        LATEST.date() if window.end == LATEST else (window.end + timedelta(days=1) - timedelta(microseconds=1)).date()
    )
    if window.empty:
        return ""
    sessions = ledger.current(
        tables, question.source, question.resolution, list(question.symbols) or None, (window.start.date(), until)
    )
    counts = sessions.group_by("status").len().sort("status").rows()
    statuses = ", ".join(f"{n} session{'s' if n > 1 else ''} {status}" for status, n in counts)
    return f" ({statuses})" if statuses else ""


def _format_window(window: Window) -> str:
    start = "the beginning" if window.start == EARLIEST else window.start.isoformat()
    end = "the end" if window.end == LATEST else window.end.isoformat()
    return f"[{start}, {end})"


# Columns about a version of a bar rather than about the bar.
_ON_REQUEST = ("withdrawn", "fetched_at", "superseded_at")


def check_columns(names: Sequence[str] | None, schema: pl.Schema) -> list[str]:
    """The columns of an answer.

    Raises:
        ConfigError: a name that bars do not have, none at all, or one twice.
    """
    if names is None:
        return [name for name in schema.names() if name not in _ON_REQUEST]
    chosen = [names] if isinstance(names, str) else list(names)
    wrong = [name for name in chosen if name not in schema]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        problem = f"bars have no column {wrong[0]!r}" if wrong else "name each column once, and at least one"
        raise ConfigError(problem, fix=f"choose from {', '.join(schema.names())}")
    return chosen
