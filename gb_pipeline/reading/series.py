"""This module says which series a lake holds, and makes the errors for those that it does not hold.

It finds what resembles an unknown name.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

import polars as pl

from gb_pipeline.errors import UnknownSeries
from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.spelling import near_names
from gb_pipeline.storage import reading
from gb_pipeline.storage.table import Table, Tables

SERIES = pl.Schema({"source": pl.String(), "symbol": pl.String(), "resolution": pl.String()})


def stored_series(
    tables: Tables,
    resolution: Resolution,
    symbols: Sequence[str] | None = None,
    source: str | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """`source, symbol` of what is stored in one resolution, or may have been at a moment, sorted.

    Intraday series are answered from the log; of daily and coarser bars, whose files hold many symbols, the symbol
    column of the files that may hold them is read.
    """
    kinds = {"source": pl.String(), "symbol": pl.String()}
    pairs_by_table = [pl.DataFrame(schema=kinds)]
    for precision in Precision:
        dataset = bars_dataset(resolution, precision)
        snapshot = tables.newest(dataset.name)
        chosen = snapshot.select(
            {} if source is None else {"source": source}, holding=None if symbols is None else {"symbol": symbols}
        )
        # What is stored no more may have been then.
        files = reading.current_files(snapshot, chosen) if as_of is None else reading.files_valid_at(chosen, as_of)
        by_file = resolution.intraday
        pairs = files.select("source", "symbol").unique() if by_file else _series_in(tables[dataset.name], files)
        pairs_by_table.append(pairs)
    wanted = [] if source is None else [pl.col("source") == source]
    if symbols is not None:
        wanted.append(pl.col("symbol").is_in(list(symbols)))
    return pl.concat(pairs_by_table).filter(pl.lit(True), *wanted).unique().sort("source", "symbol")


# Of a file's rows, of one symbol: the first, the one after the last, and how many there are.
Run = tuple[int, int, int]
# By file: the symbols in it, and where they lie. A file never changes, and no other one is called as it is.
_RUNS: WeakKeyDictionary[Table, dict[str, dict[str, Run]]] = WeakKeyDictionary()
_MOST_FILES = 10_000


def _series_in(table: Table, files: pl.DataFrame) -> pl.DataFrame:
    """`source, symbol` of what is in some files."""
    sources = files["source"].to_list()
    pairs = {(source, code) for source, runs in zip(sources, runs_in(table, files), strict=True) for code in runs}
    return pl.DataFrame(sorted(pairs), schema={"source": pl.String(), "symbol": pl.String()}, orient="row")


def runs_in(table: Table, files: pl.DataFrame) -> list[dict[str, Run]]:
    """Where each symbol lies in each of some files; of each, the symbols are read once in a process."""
    remembered = _RUNS.setdefault(table, {})
    if len(remembered) > _MOST_FILES:
        remembered.clear()
    paths = files["path"].to_list()
    if any(path not in remembered for path in paths):
        unknown = files.filter([path not in remembered for path in paths])
        rows = reading.read(table.storage, table.dataset, unknown, ["symbol"], with_file=True)
        changes = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in (reading.FILE, "symbol"))
        # Rows of a symbol mostly stand together: what follows looks at the first of each stretch alone.
        stretches = rows.filter(changes.fill_null(True)).with_columns(
            until=pl.col(reading.ROW).shift(-1, fill_value=rows.height)
        )
        begin = pl.col(reading.ROW).min().over(reading.FILE)
        runs = (
            stretches.with_columns(begin=begin)
            .group_by(reading.FILE, "symbol")
            .agg(
                first=(pl.col(reading.ROW) - pl.col("begin")).min(),
                end=(pl.col("until") - pl.col("begin")).max(),
                count=(pl.col("until") - pl.col(reading.ROW)).sum(),
            )
        )
        found: dict[str, dict[str, Run]] = {path: {} for path in unknown["path"]}
        for file, symbol, *run in runs.rows():
            found[unknown["path"][file]][symbol] = run[0], run[1], run[2]
        remembered.update(found)
    return [remembered[path] for path in paths]


def known_series(tables: Tables, *, open_bars: bool = True) -> pl.DataFrame:
    """`source, symbol, resolution` of everything stored, and of series that the ledger knows although nothing is stored.

    Args:
        open_bars: False leaves daily and coarser bars to the ledger, so that no file of bars is opened.
    """
    series = [pl.DataFrame(schema=SERIES)]
    for resolution in Resolution:
        if resolution.intraday or (open_bars and resolution is not Resolution.TICK):
            series.append(stored_series(tables, resolution).with_columns(pl.lit(resolution.value).alias("resolution")))
    series.append(ledger.scan(tables, columns=SERIES.names()).unique().collect())
    return pl.concat(series).unique().sort("source", "symbol", "resolution")


def unknown_series_error(
    known: pl.DataFrame, symbol: str | None, resolution: Resolution | None, source: str | None
) -> UnknownSeries:
    """The error for a series that is not there: near names, or where else the symbol is; None where none was named."""
    if symbol is not None and not symbol.strip():
        return UnknownSeries(
            "the name of a symbol is empty", fix="name one, such as BTC-USD; `gb status` lists what there is"
        )
    requested = " ".join(str(part) for part in (source, symbol, resolution) if part is not None)
    if known.is_empty():
        return UnknownSeries(
            f"nothing is stored as {requested}: the lake is empty", fix="fetch something: `gb fetch --help`"
        )
    if source is not None and source not in known["source"]:
        sources = known["source"].unique().sort().to_list()
        return UnknownSeries(
            f"the lake has nothing from source {source!r}", near=sources, fix=f"its sources: {', '.join(sources[:20])}"
        )
    same = known.filter(pl.col("symbol") == (symbol or ""))
    if not same.is_empty():
        places = [f"{row[0]} {row[1]} {row[2]}" for row in same.iter_rows()]
        fix = f"there is {', '.join(places[:10])}"
        finest = min((Resolution(kind) for kind in same["resolution"].unique()), key=list(Resolution).index)
        if resolution is not None and list(Resolution).index(finest) < list(Resolution).index(resolution):
            call = f"lake.bars({symbol!r}, {str(finest)!r}, resample={str(resolution)!r})"
            fix += f"; bars of {resolution} can be made of it: {call}"
        return UnknownSeries(f"nothing is stored as {requested}", near=places, fix=fix)
    near = near_names(symbol or "", known["symbol"].unique().sort().to_list())
    return UnknownSeries(
        f"nothing is stored as {requested}",
        near=near,
        fix=f"did you mean {', '.join(near)}?" if near else "see `gb status` for what there is",
    )
