"""How many bars each series has, its first and last timestamp, and its last bar: from the log's statistics as far as they say it.

A file is opened only where its statistics leave something open: at the ends of a window, as of a moment, and of bars of a day and
longer, whose files hold many symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import polars as pl

from gb_pipeline.market.moments import INSTANT, microseconds
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import LATEST
from gb_pipeline.reading.plan import Part, Plan, Question, check_columns, make_plan, no_data_error
from gb_pipeline.reading.stored_rows import StoredRows
from gb_pipeline.storage import reading
from gb_pipeline.storage.numbers import Numbers, converted
from gb_pipeline.storage.snapshot import SLACK
from gb_pipeline.storage.table import Tables

_SERIES = ["source", "symbol"]
_EDGES = (pl.col("bars").sum(), pl.col("first").min(), pl.col("last").max())
_OF_ROWS = (
    pl.len().cast(pl.Int64).alias("bars"),
    pl.col("timestamp").min().alias("first"),
    pl.col("timestamp").max().alias("last"),
)


# Statistics of other writers may be cut to milliseconds.
_END = timedelta(microseconds=SLACK)
_NEVER = 2**63 - 1


def extents(tables: Tables, question: Question) -> pl.DataFrame:
    """See `Lake.extent`.

    Raises:
        UnknownSeries, NoDataInRange: as `Lake.bars`.
    """
    plan = make_plan(tables, question)
    told = _extents_by_log(plan.parts)
    if told is not None:
        return told
    parts = [edges for part in plan.parts for edges in _extents_of(part)]
    found = pl.concat(parts).filter(pl.col("bars") > 0) if parts else pl.DataFrame()
    if found.is_empty():
        raise no_data_error(tables, question)
    return found.group_by(_SERIES).agg(*_EDGES).sort("symbol", "source")


def _extents_by_log(parts: Sequence[Part]) -> pl.DataFrame | None:
    """The answer where all files lie in the window and are of one series each; None where the log does not say that."""
    rows = []
    for part in parts:
        content = part.content
        if part.symbol is None or not isinstance(content, StoredRows) or not content.is_plain:
            return None
        counts, starts, ends = (content.files[name] for name in ("rows", "min.timestamp", "max.timestamp"))
        if not len(counts) or counts.null_count() or starts.null_count() or ends.null_count():
            return None
        first, last = (int(edge) for edge in (starts.cast(pl.Int64).min(), ends.cast(pl.Int64).max()))  # type: ignore[arg-type]
        if first < microseconds(content.window.start) or last >= microseconds(content.window.end):
            return None
        rows.append((part.source, part.symbol, int(counts.sum()), first, last))
    if not rows:
        return None
    sources, symbols, bars, firsts, lasts = zip(*sorted(rows, key=lambda row: (row[1], row[0])), strict=True)
    return pl.DataFrame(
        [
            pl.Series("source", sources, dtype=pl.String()),
            pl.Series("symbol", symbols, dtype=pl.String()),
            pl.Series("bars", bars, dtype=pl.Int64()),
            pl.Series("first", firsts, dtype=pl.Int64()).cast(INSTANT),
            pl.Series("last", lasts, dtype=pl.Int64()).cast(INSTANT),
        ]
    )


def _extents_of(part: Part) -> list[pl.DataFrame]:
    """Parts of the answer: of files that lie in the window from the log, of others from their rows."""
    content = part.content
    if not isinstance(content, StoredRows) or content.as_of is not None or "symbol" not in content.files.columns:
        return [_named(part, part.rows.select("timestamp", *_symbol(part))).group_by(_SERIES).agg(*_OF_ROWS).collect()]
    window = content.window
    inside = (content.files["min.timestamp"] >= window.start) & (content.files["max.timestamp"] < window.end)
    whole = content.files if inside.all() else content.files.filter(inside)
    told = whole.select(
        *_SERIES, bars="rows", first="min.timestamp", last="max.timestamp"
    )  # each file is of one series
    if whole.height == content.files.height:
        return [told]
    cut = replace(content, files=content.files.filter(~inside))
    rows = _named(part, cut.read(["timestamp", *_symbol(part)]).lazy()).group_by(_SERIES).agg(*_OF_ROWS).collect()
    return [told, rows]


def _symbol(part: Part) -> list[str]:
    return ["symbol"] if part.symbol is None else []


def _named(part: Part, rows: pl.LazyFrame) -> pl.LazyFrame:
    names = {"source": part.source} | ({} if part.symbol is None else {"symbol": part.symbol})
    return rows.with_columns(pl.lit(value).alias(name) for name, value in names.items())


def latest(tables: Tables, question: Question, columns: Sequence[str] | None, *, as_float: bool) -> pl.DataFrame:
    """See `Lake.latest`.

    Raises:
        UnknownSeries, NoDataInRange, ConfigError: as `Lake.bars`.
    """
    plan = make_plan(tables, question)
    names = check_columns(columns, plan.schema)
    numbers = Numbers.FLOATS if as_float else Numbers.DECIMALS
    needed = list(dict.fromkeys([*names, *_SERIES, "timestamp"]))
    found = _last_of_files(plan.parts, needed, numbers)
    if found is None:
        frames = [_last_rows(plan, part, needed, numbers) for part in plan.parts]
        found = pl.concat(frames) if frames else pl.DataFrame()
        if found.is_empty():
            raise no_data_error(tables, question)
        found = found.sort("symbol", "source")
    return found if found.columns == names else pl.DataFrame([found[name] for name in names])


def _last_of_files(parts: Sequence[Part], names: list[str], numbers: Numbers) -> pl.DataFrame | None:
    """The last row of each series where it is the last one of its newest file, as in files that were written in order of time.

    Returns:
        None where it is not, or the log does not say which file that is.
    """
    contents = [part.content for part in parts if part.symbol is not None and isinstance(part.content, StoredRows)]
    if not contents or len(contents) < len(parts) or not all(content.is_plain for content in contents):
        return None
    if len({content.dataset.name for content in contents}) > 1:
        return None
    newest, ends = [], []
    for content in contents:
        stamps = content.files["max.timestamp"]
        if not len(stamps) or stamps.null_count():
            return None
        known = stamps.cast(pl.Int64).to_list()
        ends.append(max(known))
        newest.append(content.files.row(known.index(ends[-1]), named=True))
    constants = {name: [getattr(part, name) for part in parts] for name in _SERIES}
    keys = list(zip(constants["symbol"], constants["source"], strict=True))
    if keys != sorted(keys):
        return None
    stored = [name for name in names if name not in constants]
    read = reading.read_last(contents[0].storage, contents[0].dataset, newest, stored, numbers)
    if read["timestamp"].cast(pl.Int64).to_list() != ends:
        return None
    return pl.DataFrame(
        [pl.Series(name, constants[name], dtype=pl.String()) if name in constants else read[name] for name in names]
    )


def _last_rows(plan: Plan, part: Part, names: list[str], numbers: Numbers) -> pl.DataFrame:
    """The last row of each series of a part."""
    own = [name for name in names if name != "source" and (name != "symbol" or part.symbol is None)]
    content = part.content
    if not isinstance(content, StoredRows):
        return _last_of(part, converted(part.rows.select(own).collect(), numbers), names)
    best = pl.DataFrame(schema=numbers.schema({name: plan.schema[name] for name in names}))
    if part.symbol is not None:
        return _last_of_one(part, content, own, best, numbers)
    unread = content.files.sort("max.timestamp", descending=True)
    while unread.height:
        chosen = _worth_reading(unread, best)
        if chosen.is_empty():
            break
        rows = _last_of(part, replace(content, files=chosen).read(own, numbers), names)
        best = rows if best.is_empty() else _newest(pl.concat([best, rows]), _SERIES)
        unread = unread.filter(~unread["path"].is_in(chosen["path"].implode()))
    return best


def _last_of_one(
    part: Part, content: StoredRows, columns: list[str], empty: pl.DataFrame, numbers: Numbers
) -> pl.DataFrame:
    """The last row of one series, with the columns of an empty frame: of its newest file, unless an older one may hold it."""
    files = content.files
    ends = files["max.timestamp"].cast(pl.Int64).fill_null(_NEVER).to_list()
    last, found = -_NEVER, None
    for place in sorted(range(files.height), key=ends.__getitem__, reverse=True):
        if ends[place] <= last:
            break
        rows = _read_end(replace(content, files=files[place : place + 1]), columns, numbers)
        if rows.height:
            stamps = rows["timestamp"].cast(pl.Int64)
            newest = int(stamps.arg_max() or 0)
            if stamps[newest] > last:
                last, found = stamps[newest], rows[newest : newest + 1]
    if found is None:
        return empty
    constants = {"source": part.source, "symbol": part.symbol}
    return pl.DataFrame(
        [
            pl.Series(name, [constants[name]], dtype=pl.String()) if name in constants else found[name]
            for name in empty.columns
        ]
    )


def _read_end(content: StoredRows, columns: list[str], numbers: Numbers) -> pl.DataFrame:
    """Rows of one file among which the last of a series is."""
    last = content.files["max.timestamp"][0]
    if last is not None and last < LATEST - _END:
        rows = replace(content, window=Window(last - _END, last + _END)).read(columns, numbers)
        if rows.height:
            return rows
    # What lies at the end is another symbol's, or was not valid then.
    return content.read(columns, numbers)


def _last_of(part: Part, rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The last row of each series among some rows of a part, named."""
    if part.symbol is None:
        rows = _newest(rows, ["symbol"])
    elif rows.height:
        rows = rows[int(rows["timestamp"].arg_max() or 0)]
    return _named(part, rows.lazy()).select(names).collect()


def _newest(rows: pl.DataFrame, series: list[str]) -> pl.DataFrame:
    """Of each series the last row; each timestamp is there once."""
    return rows.filter(pl.col("timestamp") == pl.col("timestamp").max().over(series))


def _worth_reading(unread: pl.DataFrame, best: pl.DataFrame) -> pl.DataFrame:
    """Of each series the newest file that is unread, if it may hold a later row than the one that is known.

    Args:
        unread: in the order of their last timestamps, the newest one first.
    """
    of_one_series = "symbol" in unread.columns
    newest = unread.unique(_SERIES if of_one_series else ["source"], keep="first", maintain_order=True)
    if best.is_empty():
        return newest
    known = best.select(*_SERIES, known="timestamp")
    if of_one_series:
        later = newest.join(known, on=_SERIES, how="left", maintain_order="left")
        return later.filter(pl.col("known").is_null() | (pl.col("max.timestamp") > pl.col("known"))).drop("known")
    return newest
