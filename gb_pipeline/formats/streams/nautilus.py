"""NautilusTrader's catalog of `TradeTick`, `QuoteTick` and `OrderBookDelta`, as version 1.221 writes it in high precision.

`data/<type>/<instrument>/<first>_<last>.parquet` holds numbers as little-endian integers of 128 bits, times 10**16. `ts_event` is
the exchange's time, `ts_init`, by which a catalog is in order, that of reception. A whole book is a `CLEAR` and an `ADD` for each
level, a change an `UPDATE` or a `DELETE`; the last delta of a moment says so. Instruments are not data of a lake: a strategy adds
its own.

Source: `nautilus_trader/persistence/catalog/parquet.py` and `serialization/arrow/schema.py`, version 1.221.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from gb_pipeline.errors import ExportRefused
from gb_pipeline.formats.streams.days import Stream
from gb_pipeline.formats.streams.writer import Account, Day, StreamWriter
from gb_pipeline.formats.writing.nautilus import file_time
from gb_pipeline.formats.writing.staging import StagedFolder

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet

_DECIMALS = 16
_NUMBER = pl.Decimal(38, _DECIMALS)
_WIDE = pl.Decimal(38, 18)
_LARGEST_PRICE, _LARGEST_SIZE = 17_014_118_346_046, 34_028_236_692_093
_ROWS_PER_GROUP = 5_000
_EXAMPLES = 3
_LONGEST_ID = 36
_TYPES = {"trades": "trade_tick", "quotes": "quote_tick", "book": "order_book_delta"}
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "trades": {
        "price": "number", "size": "number", "aggressor_side": "uint8", "trade_id": "string", "ts_event": "uint64",
        "ts_init": "uint64",
    },
    "quotes": {
        "bid_price": "number", "ask_price": "number", "bid_size": "number", "ask_size": "number", "ts_event": "uint64",
        "ts_init": "uint64",
    },
    "book": {
        "action": "uint8", "side": "uint8", "price": "number", "size": "number", "order_id": "uint64", "flags": "uint8",
        "sequence": "uint64", "ts_event": "uint64", "ts_init": "uint64",
    },
}  # fmt: skip
_AGGRESSOR = {"buy": 1, "sell": 2}
_SIDE = {"bid": 1, "ask": 2}
_ADD, _UPDATE, _DELETE, _CLEAR = 1, 2, 3, 4
_F_LAST, _F_SNAPSHOT = 128, 32


@dataclass
class _File:
    """What is known of one file before it is written, and what waits to be."""

    first: int
    last: int
    prices: int = 0
    sizes: int = 0
    held: pl.DataFrame | None = None
    written_to: int = -1


class NautilusTicksWriter(StreamWriter):
    """Writes a file of each type per stream."""

    tables: ClassVar = ("trades", "quotes", "book_snapshots", "book_updates")
    alone: ClassVar = True

    def __init__(self, market: str | None = None) -> None:
        """See `StreamWriter`."""
        super().__init__(market)
        self._files: dict[tuple[str, str], _File] = {}
        self._open: dict[tuple[str, str], pa.parquet.ParquetWriter] = {}
        self._has_updates: set[str] = set()
        self._has_book: set[str] = set()

    def place_of(self, stream: Stream) -> str:
        """The instrument."""
        return f"{stream.symbol}.{(self.market or stream.source).upper()}"

    def inspect(self, stream: Stream, day: Day, account: Account) -> None:
        """Find the decimals of the whole stream, its first and last moment, and what cannot be written."""
        if day.rows["book_updates"].height:
            self._has_updates.add(stream.name)
        for kind, rows in self._records(stream, day, account):
            numbers = [name for name, what in _COLUMNS[kind].items() if what == "number"]
            file = self._files.setdefault((stream.name, kind), _File(2**63 - 1, 0))
            file.first = min(file.first, rows["ts_init"].min())  # type: ignore[type-var, assignment]
            file.last = max(file.last, rows["ts_init"].max())  # type: ignore[type-var, assignment]
            for name in numbers:
                digits = _decimals_of(rows[name])
                if "price" in name:
                    file.prices = max(file.prices, digits)
                else:
                    file.sizes = max(file.sizes, digits)
            account.events += rows.height
        self._has_book.clear()

    def write(self, stream: Stream, day: Day, folder: StagedFolder) -> None:
        """Append row groups; rows that were heard when the next day had begun wait for it."""
        for kind, rows in self._records(stream, day, None):
            file = self._files[stream.name, kind]
            begins = rows["ts_init"].min()
            together = rows if file.held is None else pl.concat([file.held, rows])
            together = together.sort("ts_init", maintain_order=True)
            ready = pl.col("ts_init") <= begins
            if file.held is not None:
                self._append(stream, kind, together.filter(ready), folder)
                together = together.filter(~ready)
            file.held = together

    def end(self, stream: Stream, folder: StagedFolder) -> None:
        """Write what waits, and close the files."""
        for (name, kind), file in self._files.items():
            if name != stream.name:
                continue
            if file.held is not None and file.held.height:
                self._append(stream, kind, file.held, folder)
                file.held = None
            if (name, kind) in self._open:
                self._open.pop((name, kind)).close()

    def _append(self, stream: Stream, kind: str, rows: pl.DataFrame, folder: StagedFolder) -> None:
        import pyarrow.parquet

        if rows.is_empty():
            return
        key, file = (stream.name, kind), self._files[stream.name, kind]
        if rows["ts_init"][0] < file.written_to:
            raise ExportRefused(
                f"{stream.name}: {kind} were heard more than a day late, which a catalog in order cannot hold",
                fix="export the days by themselves: --start and --end",
            )
        file.written_to = rows["ts_init"][-1]
        if key not in self._open:
            name = f"data/{_TYPES[kind]}/{self.place_of(stream)}/{file_time(file.first)}_{file_time(file.last)}.parquet"
            self._open[key] = pyarrow.parquet.ParquetWriter(folder.path(name, stream.name), self._schema(stream, kind))
        self._open[key].write_table(_table(rows, kind, self._schema(stream, kind)), row_group_size=_ROWS_PER_GROUP)

    def _schema(self, stream: Stream, kind: str) -> pa.Schema:
        import pyarrow as pa

        types = {"number": pa.binary(16), "uint8": pa.uint8(), "uint64": pa.uint64(), "string": pa.string()}
        file = self._files[stream.name, kind]
        return pa.schema(
            [pa.field(name, types[what], nullable=False) for name, what in _COLUMNS[kind].items()],
            metadata={
                "instrument_id": self.place_of(stream),
                "price_precision": str(file.prices),
                "size_precision": str(file.sizes),
            },
        )

    def _records(self, stream: Stream, day: Day, account: Account | None) -> Iterator[tuple[str, pl.DataFrame]]:
        """The rows of each type as the files have them; what has no place in them is counted in the account."""
        account = Account() if account is None else account
        trades = _kept(day.rows["trades"], account)
        if trades.height:
            yield "trades", _trades(trades, account)
        quotes = _kept(day.rows["quotes"], account)
        if quotes.height:
            yield "quotes", quotes
        snapshots, updates = day.rows["book_snapshots"], day.rows["book_updates"]
        if stream.name in self._has_updates and snapshots.height:
            # Updates tell what a periodic snapshot repeats.
            snapshots = snapshots.filter(pl.col("reason") != "periodic")
        book = _deltas(_kept(snapshots, account), _kept(updates, account))
        if book.height:
            yield "book", book


def _kept(rows: pl.DataFrame, account: Account) -> pl.DataFrame:
    """Rows that Nautilus can hold, with `ts_event` and `ts_init`."""
    if rows.is_empty():
        return rows
    exchange, local = pl.col("exchange_time"), pl.col("receive_time")
    rows = rows.with_columns(
        pl.coalesce(exchange, local).alias("ts_event"), pl.coalesce(local, exchange).alias("ts_init")
    )
    numbers = [name for name in rows.columns if name.endswith(("price", "size"))]
    sizes = [name for name in ("bid_size", "ask_size") if name in numbers]
    if sizes:
        one_sided = pl.any_horizontal(pl.col("bid_price").is_null(), pl.col("ask_price").is_null())
        account.leave_out("quotes of one side only", int(rows.select(one_sided.sum()).item()))
        rows = rows.filter(~one_sided)
        if rows.select(pl.any_horizontal(pl.col(sizes).is_null()).any()).item():
            account.notes["Sizes of quotes that nobody said are 0."] = None
            rows = rows.with_columns(pl.col(sizes).fill_null(0))
    too_large = pl.any_horizontal(
        pl.col(name).abs() > (_LARGEST_PRICE if "price" in name else _LARGEST_SIZE) for name in numbers
    )
    account.leave_out("numbers above Nautilus' largest", int(rows.select(too_large.sum()).item()))
    rows = rows.filter(~too_large)
    wide = rows.select(pl.col(numbers).cast(_WIDE))
    cut = wide.with_columns(pl.all().round(_DECIMALS))
    for name in numbers:
        differs = wide[name] != cut[name]
        account.changed += int(differs.sum())
        for before, after in zip(wide[name].filter(differs).head(_EXAMPLES), cut[name].filter(differs), strict=False):
            if len(account.examples) < _EXAMPLES:
                account.examples.append(f"{name} {before.normalize():f} becomes {after.normalize():f}")
    return rows.with_columns(cut[name].cast(_NUMBER).alias(name) for name in numbers)


def _trades(rows: pl.DataFrame, account: Account) -> pl.DataFrame:
    """With a side as a number, and an id for each."""
    named = pl.col("trade_id").is_not_null() & (pl.col("trade_id").str.len_bytes() <= _LONGEST_ID)
    if not rows.select(named.all()).item():
        account.notes[
            "Trades without an id, or with one of more than 36 letters, are called by their time and place."
        ] = None
    own = pl.concat_str("ts_event", pl.lit("-"), "ordinal")
    return rows.with_columns(
        pl.col("side")
        .replace_strict(_AGGRESSOR, default=0, return_dtype=pl.UInt8())
        .fill_null(0)
        .alias("aggressor_side"),
        pl.when(named).then("trade_id").otherwise(own).alias("trade_id"),
    )


def _deltas(snapshots: pl.DataFrame, updates: pl.DataFrame) -> pl.DataFrame:
    """Changes of a book in order; the last of each moment has its flag."""
    columns = [
        "action",
        "side",
        "price",
        "size",
        "order_id",
        "flags",
        "sequence",
        "ts_event",
        "ts_init",
        "ordinal",
        "place",
    ]
    side = pl.col("side").replace_strict(_SIDE, default=0, return_dtype=pl.UInt8())
    zero = pl.lit(0, _NUMBER)
    parts = []
    if updates.height:
        action = pl.when(pl.col("size") == 0).then(_DELETE).otherwise(_UPDATE)
        parts.append(
            updates.with_columns(
                action.alias("action"), side.alias("side"), pl.lit(0).alias("flags"), pl.lit(2).alias("place")
            )
        )
    if snapshots.height:
        adds = snapshots.with_columns(
            pl.lit(_ADD).alias("action"),
            side.alias("side"),
            pl.lit(_F_SNAPSHOT).alias("flags"),
            pl.lit(1).alias("place"),
        )
        clears = adds.unique("ts_init", keep="first", maintain_order=True).with_columns(
            pl.lit(_CLEAR).alias("action"), pl.lit(0, pl.UInt8).alias("side"), zero.alias("price"), zero.alias("size"),
            pl.lit(0).alias("place"),
        )  # fmt: skip
        parts += [adds, clears]
    if not parts:
        return pl.DataFrame(schema={name: pl.Int64() for name in columns})
    whole = pl.concat([part.with_columns(pl.lit(0).alias("order_id")).select(columns) for part in parts])
    whole = whole.sort("ts_init", "place", "ordinal", maintain_order=True)
    is_last = (pl.col("ts_init") != pl.col("ts_init").shift(-1)).fill_null(True)
    return whole.with_columns(
        (pl.col("flags") + pl.when(is_last).then(_F_LAST).otherwise(0)).alias("flags"),
        pl.col("sequence").fill_null(0).clip(lower_bound=0),
    )


def _decimals_of(numbers: pl.Series) -> int:
    """Digits after the point that any of the numbers has."""
    texts = numbers.unique().cast(pl.String)
    digits = texts.str.extract(r"\.([0-9]*?)0*$").str.len_chars().max()
    return digits if isinstance(digits, int) else 0


def _table(rows: pl.DataFrame, kind: str, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns = []
    for field in schema:
        series = rows[field.name].rechunk()
        if _COLUMNS[kind][field.name] == "number":
            # Arrow's decimals of 128 bits are these integers already.
            array = series.cast(_NUMBER).to_arrow()
            columns.append(
                pa.Array.from_buffers(field.type, len(array), [None, array.buffers()[1]], offset=array.offset)
            )
        else:
            columns.append(series.to_arrow().cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
