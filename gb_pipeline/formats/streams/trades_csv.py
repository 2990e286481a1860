"""CSV files of trades of anybody: a time, a price and a size, with a header or without one.

Without a header the fields are those of bitcoincharts.com: seconds, price, amount. With one, fields are found by their usual
names; where there is no time but an id of 16 digits, that is Mt. Gox' time in microseconds. Trades without an id are all kept:
identical lines may be different trades.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from gb_pipeline.errors import ConfigError, FormatRefused, InvalidSymbol
from gb_pipeline.formats.streams.archive import StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.ordinals import Ordinals
from gb_pipeline.formats.streams.text_files import find_files, place_of, read_first_line, read_lines
from gb_pipeline.market.symbol import AssetClass

_SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".zip")
_BITCOINCHARTS = ("time", "price", "size")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "date", "datetime", "ts", "exchange_time", "exchange_timestamp", "trade_time"),
    "price": ("price", "px", "rate", "last"),
    "size": ("size", "amount", "qty", "quantity", "volume", "vol"),
    "side": ("side", "type", "taker_side", "aggressor", "direction"),
    "trade_id": ("id", "trade_id", "tid", "tradeid", "trade id"),
    "receive_time": ("receive_time", "local_timestamp", "receipt_timestamp", "received"),
}
_SIDES = {
    "buy": "buy", "b": "buy", "bid": "buy", "1": "buy", "sell": "sell", "s": "sell", "ask": "sell", "a": "sell", "-1": "sell",
    "": None, "unknown": None, "none": None, "n": None,
}  # fmt: skip
_NOTES = (
    "Identical lines without an id are kept, each as a trade of its own.",
    "Times are told apart by their digits: seconds, milliseconds, microseconds or nanoseconds.",
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    symbol: str
    names: tuple[str, ...]
    has_header: bool
    fields: Mapping[str, str]


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A file, or all files of a folder, which are named by their symbols; see `archive.StreamReader`."""
    zone = _zone(options.timezone)
    skipped: dict[str, str] = {}
    asset_class = options.asset_class or AssetClass.CRYPTO
    files = []
    for file in find_files(path, *_SUFFIXES):
        names, has_header = tuple(read_first_line(file)), True
        if all(_is_number(name) for name in names):
            names, has_header = _BITCOINCHARTS if len(names) == 3 else (), False
        fields = _find_fields(names)
        if not {"price", "size"} <= set(fields) or not {"time", "trade_id"} & set(fields):
            skipped[place_of(file, path)] = (
                "its header has no time, price and size"
                if has_header
                else "it has no header, and not the three fields time, price and amount"
            )
            continue
        files.append(_File(file, _symbol_of(file, path, options, asset_class), names, has_header, fields))
    state = _State(zone)
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file.path, path), partial(state.read, file)) for file in files),
        files=tuple(file.path for file in files),
        asset_class=asset_class,
        notes=_NOTES,
        skipped=skipped,
    )


def _symbol_of(file: Path, path: Path, options: StreamOptions, asset_class: AssetClass) -> str:
    stem = file.name.partition(".csv")[0].removesuffix(".zip")
    if stem in options.names:
        return options.canonical(stem, asset_class)
    if file == path:
        return options.one_symbol(file, asset_class)
    try:
        return options.canonical(stem, asset_class)
    except InvalidSymbol as error:
        raise ConfigError(error.what, fix=f"name the file by its symbol, or say --name {stem}=BTC-USD") from None


def _find_fields(names: tuple[str, ...]) -> dict[str, str]:
    """The column of each field, by the usual names of it."""
    lowered = {name.strip().lower(): name for name in names}
    found = {}
    for ours, theirs in _FIELDS.items():
        column = next((lowered[name] for name in theirs if name in lowered), None)
        if column is not None:
            found[ours] = column
    return found


@dataclass
class _State:
    """What is remembered from one chunk to the next."""

    zone: str | None
    ordinals: Ordinals = field(default_factory=lambda: Ordinals(""))

    def read(self, file: _File) -> Iterator[StreamChunk]:
        """The chunks of a file."""
        self.ordinals.place = str(file.path)
        for lines in read_lines(file.path, file.names, has_header=file.has_header):
            rows = lines.frame.with_row_index("record")
            side = file.fields.get("side")
            trade_id = file.fields.get("trade_id")
            time = file.fields.get("time", trade_id)
            received = file.fields.get("receive_time")
            trades = rows.select(
                "record",
                pl.lit(file.symbol).alias("symbol"),
                self._moment(rows, time, file).alias("exchange_time"),
                (pl.lit(None, pl.Int64()) if received is None else self._moment(rows, received, file)).alias(
                    "receive_time"
                ),
                pl.col(file.fields["price"]).alias("price"),
                pl.col(file.fields["size"]).alias("size"),
                (pl.lit(None, pl.String()) if trade_id is None else pl.col(trade_id)).alias("trade_id"),
                (pl.lit(None, pl.String()) if side is None else _side(side)).alias("side"),
            )
            numbered = self.ordinals.number(trades, "exchange_time")
            yield StreamChunk("trades", numbered, lines.frame, lines.first, lines.broken, file.symbol)

    def _moment(self, rows: pl.DataFrame, name: str | None, file: _File) -> pl.Series:
        """ns since 1970 UTC of numbers or ISO text."""
        assert name is not None
        texts = rows[name].str.strip_chars()
        numeric = texts.str.contains(r"^[0-9]+(\.[0-9]+)?$")
        if (numeric | texts.is_null()).all():
            return _from_numbers(texts)
        stamps = texts.str.to_datetime(time_unit="ns", time_zone="UTC", strict=False)
        naive = texts.filter(~numeric.fill_null(False)).str.contains(r"(?:[zZ]|[+-][0-9]{2}:?[0-9]{2})$")
        if naive.any() and naive.all():
            return stamps.dt.epoch("ns")
        if self.zone is None:
            raise FormatRefused(
                f"{file.path}: its times have no zone", fix="say it, such as --timezone UTC or America/New_York"
            )
        local = texts.str.to_datetime(time_unit="ns", strict=False)
        zoned = local.dt.replace_time_zone(self.zone, ambiguous="null", non_existent="null")
        return zoned.dt.convert_time_zone("UTC").dt.epoch("ns")


def _from_numbers(texts: pl.Series) -> pl.Series:
    """Seconds with decimals, milliseconds, microseconds or nanoseconds, by the number of digits before the point."""
    frame = pl.DataFrame({"t": texts}).with_columns(
        pl.col("t").str.extract(r"^([0-9]+)").alias("whole"),
        pl.col("t").str.extract(r"\.([0-9]+)$").fill_null("").str.pad_end(9, "0").str.slice(0, 9).alias("fraction"),
    )
    digits = pl.col("whole").str.strip_chars_start("0").str.len_chars()
    value = pl.col("whole").cast(pl.Int64, strict=False)
    seconds = value * 10**9 + pl.col("fraction").cast(pl.Int64, strict=False)
    moment = (
        pl.when(digits <= 11).then(seconds)
        .when(digits <= 14).then(value * 10**6 + pl.col("fraction").str.slice(0, 6).cast(pl.Int64, strict=False))
        .when(digits <= 17).then(value * 10**3 + pl.col("fraction").str.slice(0, 3).cast(pl.Int64, strict=False))
        .when(digits <= 19).then(value)
    )  # fmt: skip
    return frame.select(moment).to_series()


def _side(name: str) -> pl.Expr:
    """buy, sell or null; what is neither stays, and is refused."""
    text = pl.col(name).str.strip_chars().str.to_lowercase()
    return text.replace_strict(_SIDES, default=text, return_dtype=pl.String())


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _zone(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"{name!r:.40} is no time zone", fix="such as America/New_York") from error
    return name
