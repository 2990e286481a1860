"""DBN files of `trades`, `tbbo`, `mbp-1` and `mbp-10` as trades, quotes and books.

    trades    a trade for each record
    tbbo      a trade for each record, and the best bid and offer before it
    mbp-1     the best bid and offer after each record, and a trade where the record is one
    mbp-10    the first book of ten levels of each instrument, what changed in it with each record after, and the trades

A book of ten levels is told by its changes: a level that leaves the ten best has size 0 from then on. Single orders (`mbo`) are no
levels, and are refused.

Source: databento.com/docs/schemas-and-data-formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import FormatRefused, InvalidSymbol
from gb_pipeline.formats.dbn.records import PRICE_DECIMALS, UNDEFINED_PRICE, UNDEFINED_TIME, read_header, read_records
from gb_pipeline.formats.dbn.symbols import asset_class_of, canonical, read_intervals
from gb_pipeline.formats.numbers import divide_exactly
from gb_pipeline.formats.streams.archive import StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.ordinals import Ordinals
from gb_pipeline.formats.streams.text_files import find_files, place_of
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass

_SUFFIXES = (".dbn", ".dbn.zst")
_TRADE = [
    ("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<u8"),
    ("price", "<i8"), ("size", "<u4"), ("action", "S1"), ("side", "S1"), ("flags", "u1"), ("depth", "u1"),
    ("ts_recv", "<u8"), ("ts_in_delta", "<i4"), ("sequence", "<u4"),
]  # fmt: skip
_LEVEL = np.dtype(
    [("bid_px", "<i8"), ("ask_px", "<i8"), ("bid_sz", "<u4"), ("ask_sz", "<u4"), ("bid_ct", "<u4"), ("ask_ct", "<u4")]
)
# Levels and `rtype` of each schema.
_LEVELS = {"trades": (0, 0), "tbbo": (1, 1), "mbp-1": (1, 1), "mbp-10": (10, 10)}
RECORDS = {schema: np.dtype([*_TRADE, ("levels", _LEVEL, (depth,))]) for schema, (depth, _) in _LEVELS.items()}
_SIDES = {b"B": "buy", b"A": "sell"}
_NOTES = (
    "Databento's own time of capture is the receive time; its flags, counts of orders, and what a record did to the book beside"
    " its levels are not kept.",
    "Sequence numbers are those of a venue's channel, shared by all its instruments: no stretch is said to be covered.",
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    schema: str
    start: int
    # Canonical codes by instrument: [first, end) in ns.
    codes: pl.DataFrame
    # Instruments that a lake cannot name, which the report lists.
    other: tuple[int, ...]


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A file, or all files of a folder; see `streams.archive.StreamReader`."""
    skipped: dict[str, str] = {}
    datasets: dict[str, list[_File]] = {}
    for file in find_files(path, *_SUFFIXES):
        header = read_header(file)
        schema = str(header.schema)
        if schema not in _LEVELS or header.ts_out:
            skipped[place_of(file, path)] = _why_not(schema)
            continue
        kind = options.asset_class or asset_class_of(header.dataset)
        rows: list[tuple[int, str, int, int]] = []
        other: set[int] = set()
        for interval in read_intervals(header):
            try:
                code = options.names.get(interval.symbol) or canonical(interval, kind).code
                rows.append((interval.instrument, code, *interval.nanoseconds))
            except InvalidSymbol as error:
                skipped[f"{place_of(file, path)} {interval.symbol}"] = error.what
                other.add(interval.instrument)
        codes = pl.DataFrame(
            rows, schema={"instrument": pl.UInt32(), "symbol": pl.String(), "since": pl.Int64(), "until": pl.Int64()},
            orient="row",
        )  # fmt: skip
        datasets.setdefault(header.dataset, []).append(_File(file, schema, header.start, codes, tuple(other)))
    if len(datasets) > 1:
        raise FormatRefused(
            f"{path} has files of {list_some(sorted(datasets))}", fix="import them one by one, under a source each"
        )
    dataset, files = next(iter(datasets.items()), ("", []))
    chosen = sorted(_choose(files, path, skipped), key=lambda file: (file.schema, file.start, file.path))
    state = _State()
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file.path, path), partial(state.read, file)) for file in chosen),
        files=tuple(file.path for file in chosen),
        asset_class=options.asset_class or (asset_class_of(dataset) if dataset else AssetClass.EQUITY),
        notes=_NOTES,
        skipped=skipped,
    )


def _why_not(schema: str) -> str:
    if schema == "mbo":
        return "it holds mbo, single orders: a lake keeps levels; download mbp-10 of the same time"
    if schema.startswith("ohlcv"):
        return "it holds bars: `gb import dbn` reads them"
    return f"it holds {schema}, no trades, quotes or levels" if schema not in _LEVELS else "its records have ts_out"


def _choose(files: list[_File], path: Path, skipped: dict[str, str]) -> list[_File]:
    """Of schemas that tell the same, the fullest: two of them would have every trade twice."""
    chosen: list[_File] = []
    there = {file.schema for file in files}
    best = next((schema for schema in ("mbp-10", "mbp-1", "tbbo", "trades") if schema in there), None)
    for file in files:
        if file.schema == best:
            chosen.append(file)
        else:
            skipped[place_of(file.path, path)] = f"the trades are in {best} as well; import it under another source"
    return chosen


@dataclass
class _State:
    """What is remembered from one chunk to the next."""

    ordinals: dict[str, Ordinals] = field(default_factory=dict)
    # The levels of the last record of each symbol.
    books: pl.DataFrame | None = None

    def read(self, file: _File) -> Iterator[StreamChunk]:
        """The chunks of a file."""
        depth, rtype = _LEVELS[file.schema]
        at = 0
        for records in read_records(file.path, RECORDS[file.schema], {rtype}, f"record of {file.schema}"):
            frame = _frame(records, depth)
            rows = _named(frame, file.codes)
            raw = frame.drop("record")
            known = rows["symbol"].is_not_null() | rows["instrument"].is_in(file.other)
            # What belongs to no symbol of its day is kept aside once.
            unnamed = raw.filter(~known) if not known.all() else None
            for table, part in self._tables(file, rows.drop_nulls("symbol"), depth):
                yield StreamChunk(table, part, raw, at, unnamed=unnamed)
                unnamed = None
            at += len(records)

    def _tables(self, file: _File, rows: pl.DataFrame, depth: int) -> Iterator[tuple[str, pl.DataFrame]]:
        keys = ["symbol", "exchange_time", "receive_time", "record", "sequence"]
        is_trade = pl.col("action") == "T" if file.schema.startswith("mbp") else pl.lit(True)
        trades = self._number("trades", rows.filter(is_trade), file)
        side = pl.col("side").replace_strict({"B": "buy", "A": "sell"}, default=None, return_dtype=pl.String())
        yield "trades", trades.select(*keys, side.alias("side"), "price", "size", "ordinal")
        if depth == 1:
            quotes = rows.rename(
                {"bid_px_0": "bid_price", "bid_sz_0": "bid_size", "ask_px_0": "ask_price", "ask_sz_0": "ask_size"}
            )
            # A side without a price has no size either.
            quotes = quotes.with_columns(
                pl.when(pl.col(f"{name}_price").is_not_null()).then(f"{name}_size").alias(f"{name}_size")
                for name in ("bid", "ask")
            )
            columns = [f"{name}_{what}" for name in ("bid", "ask") for what in ("price", "size")]
            yield "quotes", self._number("quotes", quotes, file).select(*keys, *columns, "ordinal")
        elif depth:
            levels = _levels(rows, depth)
            first, changes = self._changes(levels, rows)
            both = pl.concat([first, changes], how="diagonal").sort("record", "kind", "place", maintain_order=True)
            both = self._number("book", both, file)
            columns = [*keys, "side", "price", "size", "ordinal"]
            snapshots = both.filter(pl.col("kind") == 0)
            if snapshots.height:
                yield "book_snapshots", snapshots.select(*columns, pl.lit("subscribed").alias("reason"))
            yield "book_updates", both.filter(pl.col("kind") == 1).select(columns)

    def _number(self, what: str, rows: pl.DataFrame, file: _File) -> pl.DataFrame:
        numbers = self.ordinals.setdefault(what, Ordinals(""))
        numbers.place = str(file.path)
        return numbers.number(rows, "receive_time")

    def _changes(self, levels: pl.DataFrame, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The first book of each symbol that has none yet, and what differs from each record to the next."""
        moments = rows.select("symbol", "exchange_time", "receive_time", "record", "sequence").with_columns(
            (pl.int_range(1, pl.len() + 1).over("symbol")).alias("step")
        )
        own = levels.join(moments.select("record", "step"), on="record", maintain_order="left").select(
            "symbol", "step", "side", "price", "size", "place"
        )
        known = set() if self.books is None else set(self.books["symbol"])
        books = (
            own
            if self.books is None
            else pl.concat([self.books.with_columns(pl.lit(0, own.schema["step"]).alias("step")), own])
        )
        key = ["symbol", "step", "side", "price"]
        before = books.with_columns(pl.col("step") + 1)
        compared = own.join(before.select(*key, pl.col("size").alias("was")), on=key, how="left", maintain_order="left")
        begins = (pl.col("step") == 1) & ~pl.col("symbol").is_in(list(known))
        first = compared.filter(begins).with_columns(pl.lit(0).alias("kind"))
        changed = compared.filter(~begins & pl.col("was").ne_missing(pl.col("size"))).with_columns(
            pl.lit(1).alias("kind")
        )
        gone = before.join(own.select(key), on=key, how="anti").join(
            moments.select("symbol", "step"), on=["symbol", "step"], how="semi"
        )
        gone = gone.with_columns(pl.lit(0, own.schema["size"]).alias("size"), pl.lit(1).alias("kind"))
        told = moments.drop("record"), moments.select("symbol", "step", "record")
        full = pl.concat([changed.drop("was"), gone], how="diagonal")
        ends = moments.group_by("symbol").agg(pl.col("step").max())
        kept = own.join(ends, on=["symbol", "step"], how="semi")
        left = pl.DataFrame(schema=kept.schema) if self.books is None else self.books.filter(
            ~pl.col("symbol").is_in(ends["symbol"].to_list())
        )  # fmt: skip
        self.books = pl.concat([left.select(kept.columns), kept])
        return tuple(
            frame.join(told[0], on=["symbol", "step"]).join(told[1], on=["symbol", "step"])
            for frame in (first.drop("was"), full)
        )  # type: ignore[return-value]


def _frame(records: Any, depth: int) -> pl.DataFrame:
    """Columns of the records; prices are exact decimals, null where there is none."""
    columns: dict[str, pl.Series] = {
        "instrument": pl.Series(np.ascontiguousarray(records["instrument_id"])),
        "publisher": pl.Series(np.ascontiguousarray(records["publisher_id"])),
        "exchange_time": _moment(records["ts_event"]),
        "receive_time": _moment(records["ts_recv"]),
        "price": _price(records["price"]),
        "size": pl.Series(records["size"].astype(np.int64)),
        "action": pl.Series(records["action"].astype("U1").astype(object), dtype=pl.String()),
        "side": pl.Series(records["side"].astype("U1").astype(object), dtype=pl.String()),
        "flags": pl.Series(np.ascontiguousarray(records["flags"])),
        "sequence": pl.Series(records["sequence"].astype(np.int64)),
    }
    for number in range(depth):
        level = records["levels"][:, number]
        for side in ("bid", "ask"):
            columns[f"{side}_px_{number}"] = _price(level[f"{side}_px"])
            columns[f"{side}_sz_{number}"] = pl.Series(level[f"{side}_sz"].astype(np.int64))
            columns[f"{side}_ct_{number}"] = pl.Series(level[f"{side}_ct"].astype(np.int64))
    return pl.DataFrame(columns).with_row_index("record")


def _moment(stamps: Any) -> pl.Series:
    """ns, null where undefined."""
    gone = (stamps == UNDEFINED_TIME) | (stamps > np.iinfo(np.int64).max)
    return pl.Series(np.where(gone, 0, stamps).astype(np.int64)).set(pl.Series(gone), None)


def _price(integers: Any) -> pl.Series:
    return divide_exactly(np.ascontiguousarray(integers), PRICE_DECIMALS, missing=UNDEFINED_PRICE).cast(
        pl.Decimal(38, 9)
    )


def _named(frame: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
    """Records with their symbol, null where there is none: a number means another one on another day."""
    moment = pl.coalesce("exchange_time", "receive_time")
    matched = frame.select("record", "instrument", moment.alias("moment")).join(codes, on="instrument", how="left")
    inside = (pl.col("moment") >= pl.col("since")) & (pl.col("moment") < pl.col("until"))
    matched = matched.filter(inside.fill_null(False)).unique("record", keep="first", maintain_order=True)
    return frame.join(matched.select("record", "symbol"), on="record", how="left", maintain_order="left")


def _levels(rows: pl.DataFrame, depth: int) -> pl.DataFrame:
    """`record`, `symbol`, `side`, `price`, `size` and `place` of each level that there is."""
    parts = [
        rows.select(
            "record", "symbol", pl.lit(side).alias("side"), pl.col(f"{side}_px_{number}").alias("price"),
            pl.col(f"{side}_sz_{number}").alias("size"), pl.lit(number + depth * (side == "ask")).alias("place"),
        )
        for side in ("bid", "ask")
        for number in range(depth)
    ]  # fmt: skip
    there = pl.concat(parts).filter(pl.col("price").is_not_null() & (pl.col("size") > 0))
    return there.sort("record", "place")
