"""Tardis' CSV files: `trades`, `incremental_book_L2`, `book_snapshot_5` and `_25`, `quotes`; as they are downloaded, with gzip.

A file is of one exchange, and of one instrument or of all of a kind. What it holds is told by its header. Times are microseconds:
`timestamp` by the exchange (Tardis' own where the exchange says none), `local_timestamp` by Tardis' collector.

Source: docs.tardis.dev, "Downloadable CSV files: data types".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.archive import StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.ordinals import Ordinals
from gb_pipeline.formats.streams.text_files import find_files, place_of, read_first_line, read_lines
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass

_SUFFIXES = (".csv", ".csv.gz")
_HEAD = ("exchange", "symbol", "timestamp", "local_timestamp")
_TRADES = (*_HEAD, "id", "side", "price", "amount")
_UPDATES = (*_HEAD, "is_snapshot", "side", "price", "amount")
_QUOTES = (*_HEAD, "ask_amount", "ask_price", "bid_price", "bid_amount")
_LEVEL = re.compile(r"(asks|bids)\[([0-9]+)\]\.(price|amount)")
_NAME = re.compile(
    r"(?P<exchange>.+?)_(?P<type>[a-z]+(?:_[a-zA-Z0-9]+)*?)_(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})_(?P<symbol>.+)"
)
_NOTES = (
    "Where an exchange says no time, Tardis writes that of its own collector instead: both look alike.",
    "Tardis' files have no numbers of messages, so no stretch of them is said to be covered.",
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    kind: str
    names: tuple[str, ...]
    depth: int = 0

    @property
    def day(self) -> tuple[str, str]:
        """Files of several exchanges' clocks are in the order of their dates."""
        named = _NAME.fullmatch(self.path.name.partition(".csv")[0])
        return (named["date"] if named else "", self.path.as_posix())


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A file, or all files of a folder; see `archive.StreamReader`."""
    found = find_files(path, *_SUFFIXES)
    skipped: dict[str, str] = {}
    files: list[_File] = []
    for file in found:
        kind = _kind_of(file)
        if kind is None:
            skipped[place_of(file, path)] = "its header is none of Tardis' trades, quotes and books"
        else:
            files.append(kind)
    files = sorted(_choose_books(files, path, skipped), key=lambda file: file.day)
    state = _State(options)
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file.path, path), partial(state.read, file)) for file in files),
        files=tuple(file.path for file in files),
        asset_class=options.asset_class or AssetClass.CRYPTO,
        notes=_NOTES,
        skipped=skipped,
    )


def _kind_of(file: Path) -> _File | None:
    names = tuple(read_first_line(file))
    known = {_TRADES: "trades", _UPDATES: "book_updates", _QUOTES: "quotes"}
    if names in known:
        return _File(file, known[names], names)
    levels = [_LEVEL.fullmatch(name) for name in names[len(_HEAD) :]]
    if names[: len(_HEAD)] == _HEAD and levels and all(levels):
        return _File(file, "book_snapshots", names, 1 + max(int(level[2]) for level in levels if level))
    return None


def _choose_books(files: list[_File], path: Path, skipped: dict[str, str]) -> list[_File]:
    """Of several kinds of books of an instrument the whole one: a short snapshot between updates would cut it off."""

    def whose(file: _File) -> str:
        named = _NAME.fullmatch(file.path.name.partition(".csv")[0])
        return f"{named['exchange']} {named['symbol']}" if named else ""

    whole = {whose(file) for file in files if file.kind == "book_updates"}
    deepest: dict[str, int] = {}
    for file in files:
        deepest[whose(file)] = max(deepest.get(whose(file), 0), file.depth)
    chosen = []
    for file in files:
        name = whose(file)
        if file.kind == "book_snapshots" and name in whole:
            skipped[place_of(file.path, path)] = (
                "incremental_book_L2 has the whole book; import it under another source"
            )
        elif file.kind == "book_snapshots" and file.depth < deepest[name]:
            skipped[place_of(file.path, path)] = (
                f"there is one of {deepest[name]} levels; import it under another source"
            )
        else:
            chosen.append(file)
    return chosen


@dataclass
class _State:
    """What is remembered from one chunk to the next."""

    options: StreamOptions
    exchange: str | None = None
    # Of each symbol: whether its last row was of a snapshot, and the moment of the snapshot's first row.
    snapshots: dict[str, tuple[bool, int]] = field(default_factory=dict)
    ordinals: dict[str, Ordinals] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)

    def read(self, file: _File) -> Iterator[StreamChunk]:
        """The chunks of a file."""
        for lines in read_lines(file.path, file.names, has_header=True):
            raw = lines.frame
            if raw.height:
                self._see_exchange(raw["exchange"], file.path)
            rows = raw.with_row_index("record").with_columns(
                self._canonical(raw["symbol"], file.path).alias("symbol"),
                _nanoseconds("timestamp").alias("exchange_time"),
                _nanoseconds("local_timestamp").alias("receive_time"),
            )
            numbers = self.ordinals.setdefault(file.kind, Ordinals(str(file.path)))
            numbers.place = str(file.path)
            for table, part in self._tables(file, rows, numbers):
                yield StreamChunk(table, part, raw, lines.first, lines.broken if table == file.kind else ())

    def _tables(self, file: _File, rows: pl.DataFrame, numbers: Ordinals) -> Iterator[tuple[str, pl.DataFrame]]:
        keys = ["symbol", "exchange_time", "receive_time", "record"]
        if file.kind == "trades":
            # Tardis writes `unknown` where an exchange says no side.
            trades = rows.with_columns(
                pl.col("side").replace("unknown", None), pl.col("amount").alias("size"), pl.col("id").alias("trade_id")
            )
            numbered = numbers.number(trades, "receive_time")
            yield "trades", numbered.select(*keys, "side", "price", "size", "trade_id", "ordinal")
        elif file.kind == "quotes":
            named = rows.rename({f"{side}_amount": f"{side}_size" for side in ("bid", "ask")})
            quotes = numbers.number(named, "receive_time")
            yield (
                "quotes",
                quotes.select(*keys, "bid_price", "bid_size", "ask_price", "ask_size", "ordinal"),
            )
        elif file.kind == "book_updates":
            levels = numbers.number(rows.with_columns(pl.col("amount").alias("size")), "receive_time")
            levels = levels.with_columns(self._begins_book(levels))
            columns = [*keys, "side", "price", "size", "ordinal"]
            yield "book_updates", levels.filter(~pl.col("begins")).select(columns)
            snapshot = levels.filter("begins")
            if snapshot.height:
                yield "book_snapshots", snapshot.select(*columns, pl.lit("subscribed").alias("reason"))
        else:
            yield "book_snapshots", numbers.number(_levels(rows, file.depth), "receive_time")

    def _begins_book(self, rows: pl.DataFrame) -> pl.Series:
        """Rows that lay a book anew: those of a run of snapshot rows that share the moment of its first.

        What follows in the run sets levels as an update does; were it a snapshot, it would discard what came before.
        """
        is_snapshot = (pl.col("is_snapshot") == "true").fill_null(False)
        marked = rows.select("symbol", "receive_time", is_snapshot.alias("is_snapshot"))
        carried = [(symbol, was, moment) for symbol, (was, moment) in self.snapshots.items()]
        before = pl.DataFrame(
            carried, schema={"symbol": pl.String(), "was": pl.Boolean(), "since": pl.Int64()}, orient="row"
        )
        marked = marked.join(before, on="symbol", how="left", maintain_order="left")
        previous = pl.col("is_snapshot").shift(1).over("symbol")
        is_first = pl.int_range(pl.len()).over("symbol") == 0
        previous = pl.when(is_first).then(pl.col("was").fill_null(False)).otherwise(previous)
        starts = pl.col("is_snapshot") & ~previous
        own = pl.when(starts).then("receive_time")
        since = pl.when(is_first & ~starts).then("since").otherwise(own)
        marked = marked.with_columns(since.alias("since")).with_columns(pl.col("since").forward_fill().over("symbol"))
        for symbol, was, moment in marked.group_by("symbol").agg(
            pl.col("is_snapshot").last(), pl.col("since").last()
        ).iter_rows():  # fmt: skip
            self.snapshots[symbol] = was, moment
        begins = pl.col("is_snapshot") & (pl.col("receive_time") == pl.col("since")).fill_null(False)
        return marked.select(begins.alias("begins")).to_series()

    def _canonical(self, names: pl.Series, path: Path) -> pl.Series:
        unknown = [name for name in names.unique() if name is not None and name not in self.codes]
        refused: dict[str, str] = {}
        self.codes |= self.options.canonical_names(unknown, AssetClass.CRYPTO, refused)
        if refused:
            raise FormatRefused(f"{path}: {list_some(list(refused.values()), 2)}", fix="name its canonical code")
        codes = names.replace_strict(self.codes, default="*", return_dtype=pl.String)
        both = pl.DataFrame({"code": list(self.codes.values()), "name": list(self.codes)})
        twice = both.filter(pl.col("code").is_duplicated())
        if twice.height:
            raise FormatRefused(
                f"{path}: {list_some(twice['name'].to_list())} would both be {twice['code'][0]}",
                fix=f"say which is which, such as --name {twice['name'][0]}=...",
            )
        return codes.fill_null("*")

    def _see_exchange(self, names: pl.Series, path: Path) -> None:
        found = {name for name in names.unique() if name is not None} | ({self.exchange} - {None})
        if len(found) > 1:
            raise FormatRefused(
                f"{path}: it is of another exchange, {' and '.join(sorted(str(name) for name in found))}",
                fix="import exchanges one by one, under a source each",
            )
        self.exchange = next(iter(found), None)


def _nanoseconds(name: str) -> pl.Expr:
    """Microseconds as text in ns; null where they are none."""
    value = pl.col(name).cast(pl.Int64, strict=False)
    return pl.when(value.abs() < 2**63 // 1000).then(value * 1000)


def _levels(rows: pl.DataFrame, depth: int) -> pl.DataFrame:
    """A row for each level that there is, the best bid first, then the asks."""
    levels = [
        pl.struct(
            pl.lit(side).alias("side"),
            pl.col(f"{side}s[{number}].price").alias("price"),
            pl.col(f"{side}s[{number}].amount").alias("size"),
        )
        for side in ("bid", "ask")
        for number in range(depth)
        if f"{side}s[{number}].price" in rows.columns
    ]
    listed = rows.select("symbol", "exchange_time", "receive_time", "record", pl.concat_list(levels).alias("level"))
    long = listed.explode("level").unnest("level")
    there = long.filter(pl.col("price").is_not_null() | pl.col("size").is_not_null())
    return there.with_columns(pl.lit("periodic").alias("reason"))
