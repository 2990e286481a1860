"""Binance's public zips of data.binance.vision: `trades`, `aggTrades` and `bookTicker`, of a day or a month, spot and futures.

A zip holds one CSV file, with a header or without one. Times are milliseconds, and microseconds in spot files since 2025-01-01:
the digits of each number tell. Spot and futures files have the same names and another number of fields, which tells them apart.
Where the file `.CHECKSUM` lies beside a zip, it is checked.

Source: github.com/binance/binance-public-data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.archive import INTERVALS, StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.ordinals import Numbered, Ordinals
from gb_pipeline.formats.streams.text_files import find_files, place_of, read_first_line, read_lines
from gb_pipeline.market.symbol import AssetClass

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9_]+)-(?P<kind>trades|aggTrades|bookTicker)-(?P<date>[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?)\.(?:zip|csv)"
)
# Fields of each kind; spot files have one more than those of futures.
_SPOT = {
    "trades": ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    "aggTrades": ("id", "price", "qty", "first_trade_id", "last_trade_id", "time", "is_buyer_maker", "is_best_match"),
}
_FUTURES = {
    **{kind: names[:-1] for kind, names in _SPOT.items()},
    "bookTicker": (
        "update_id",
        "best_bid_price",
        "best_bid_qty",
        "best_ask_price",
        "best_ask_qty",
        "time",
        "event_time",
    ),
}
_DELIVERY = re.compile(r"(?P<pair>[A-Z0-9]+)_(?P<end>PERP|[0-9]{6})")
# From here on a number of a time is one of microseconds: in milliseconds it would be the year 5138.
_MICROSECONDS_FROM = 10**14
_MILLISECOND, _MICROSECOND = 10**6, 10**3
_NOTES = (
    "Numbers of trades that follow one another prove that none is missing: such stretches are covered, and gaps say which are.",
    "Quote quantities, first numbers of aggregated trades and the flag of the best match are not kept.",
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    kind: str
    date: str
    symbol: str
    names: tuple[str, ...]
    has_header: bool

    @property
    def table(self) -> str:
        return "quotes" if self.kind == "bookTicker" else "trades"


def open_files(path: Path, options: StreamOptions) -> StreamArchive:
    """A zip, or all zips of a folder; see `archive.StreamReader`."""
    skipped: dict[str, str] = {}
    files: list[_File] = []
    for file in find_files(path, ".zip", ".csv"):
        found = _inspect(file, options, skipped, place_of(file, path))
        if found is not None:
            files.append(found)
    files = sorted(_choose(files, path, skipped), key=lambda file: (file.symbol, file.date, file.kind))
    state = _State()
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file.path, path), partial(state.read, file)) for file in files),
        files=tuple(file.path for file in files),
        asset_class=AssetClass.CRYPTO,
        intervals=state.intervals,
        notes=_NOTES,
        skipped=skipped,
    )


def _inspect(file: Path, options: StreamOptions, skipped: dict[str, str], place: str) -> _File | None:
    named = _NAME.fullmatch(file.name)
    if named is None:
        skipped[place] = "its name is none of Binance's trades, aggTrades and bookTicker"
        return None
    fields = read_first_line(file)
    kind = named["kind"]
    has_header = not fields[0].isdecimal()
    known = {len(names[kind]): names[kind] for names in (_SPOT, _FUTURES) if kind in names}
    names = known.get(len(fields))
    if names is None:
        skipped[place] = f"its first line has {len(fields)} fields, and {kind} have {' or '.join(map(str, known))}"
        return None
    delivery = _DELIVERY.fullmatch(named["symbol"])
    suffix = "" if names in _SPOT.values() else "-PERP" if delivery is None else f"-{delivery['end']}"
    text = named["symbol"] if delivery is None else delivery["pair"]
    code = options.canonical_names([text], AssetClass.CRYPTO, skipped, suffix=suffix).get(text)
    if named["symbol"] in options.names:
        code = options.canonical(named["symbol"], AssetClass.CRYPTO)
    return None if code is None else _File(file, kind, named["date"], code, names, has_header)


def _choose(files: list[_File], path: Path, skipped: dict[str, str]) -> list[_File]:
    """Each trade once: single ones rather than aggregated ones, a month rather than its days."""
    single = {file.symbol for file in files if file.kind == "trades"}
    months = {(file.symbol, file.kind, file.date) for file in files if len(file.date) == 7}
    chosen: dict[tuple[str, str, str], _File] = {}
    for file in files:
        key = (file.symbol, file.kind, file.date)
        if file.kind == "aggTrades" and file.symbol in single:
            skipped[place_of(file.path, path)] = "there are single trades; import it under another source"
        elif len(file.date) > 7 and (file.symbol, file.kind, file.date[:7]) in months:
            skipped[place_of(file.path, path)] = "there is a file of the whole month"
        elif key in chosen:
            other = place_of(chosen[key].path, path)
            raise FormatRefused(
                f"{place_of(file.path, path)} and {other} are both {file.kind} of {file.symbol}, {file.date}",
                fix="import them one by one, under a source each",
            )
        else:
            chosen[key] = file
    return list(chosen.values())


@dataclass
class _State:
    """What is remembered from one chunk to the next."""

    numbered: dict[str, Numbered] = field(default_factory=dict)
    ordinals: Ordinals = field(default_factory=lambda: Ordinals(""))
    trades_ordinals: Ordinals = field(default_factory=lambda: Ordinals("", strict=False))

    def read(self, file: _File) -> Iterator[StreamChunk]:
        """The chunks of a file."""
        _check(file.path)
        self.ordinals.place = str(file.path)
        for lines in read_lines(file.path, file.names, has_header=file.has_header):
            raw = lines.frame
            rows = raw.with_row_index("record").with_columns(
                pl.lit(file.symbol).alias("symbol"),
                _nanoseconds("time").alias("exchange_time"),
                pl.lit(None, pl.Int64()).alias("receive_time"),
            )
            rows = self._trades(file, rows) if file.table == "trades" else self._quotes(rows)
            yield StreamChunk(file.table, rows, raw, lines.first, lines.broken, file.symbol)

    def _trades(self, file: _File, rows: pl.DataFrame) -> pl.DataFrame:
        number = pl.col("id").cast(pl.Int64, strict=False)
        last = pl.col("last_trade_id").cast(pl.Int64, strict=False) if file.kind == "aggTrades" else number
        maker = pl.col("is_buyer_maker").str.to_lowercase()
        trades = rows.select(
            "symbol", "exchange_time", "receive_time", "record", "price", pl.col("qty").alias("size"),
            # Where the buyer was the maker, the seller took.
            maker.replace_strict({"true": "sell", "1": "sell", "false": "buy", "0": "buy"}, default="?").alias("side"),
            pl.col("id").alias("trade_id"), number.alias("number"), last.alias("sequence"),
        )  # fmt: skip
        trades = self.trades_ordinals.number(trades, "exchange_time")
        unit = _MICROSECOND if (rows["exchange_time"] % _MILLISECOND != 0).any() else _MILLISECOND
        evidence = self.numbered.setdefault(file.symbol, Numbered("trades", unit))
        # The coarsest time of a stream says how far an edge may be off.
        evidence.unit = max(evidence.unit, unit)
        evidence.see(trades)
        return trades.drop("number")

    def _quotes(self, rows: pl.DataFrame) -> pl.DataFrame:
        quotes = rows.select(
            "symbol", "exchange_time", "receive_time", "record",
            *(
                pl.col(f"best_{side}_{theirs}").alias(f"{side}_{ours}")
                for side in ("bid", "ask") for theirs, ours in (("price", "price"), ("qty", "size"))
            ),
            pl.col("update_id").cast(pl.Int64, strict=False).alias("sequence"),
        )  # fmt: skip
        return self.ordinals.number(quotes, "exchange_time")

    def intervals(self) -> pl.DataFrame:
        """See `archive.StreamArchive`."""
        found = [numbered.intervals() for numbered in self.numbered.values()]
        return pl.concat(found) if found else pl.DataFrame(schema=INTERVALS)


def _nanoseconds(name: str) -> pl.Expr:
    """Milliseconds or microseconds as text in ns; null where they are neither."""
    value = pl.col(name).cast(pl.Int64, strict=False)
    unit = pl.when(value >= _MICROSECONDS_FROM).then(_MICROSECOND).otherwise(_MILLISECOND)
    return pl.when(value.is_between(0, 9 * 10**15)).then(value * unit)


def _check(file: Path) -> None:
    """Compare with what Binance says of the file.

    Raises:
        FormatRefused: it is another one.
    """
    beside = file.with_name(f"{file.name}.CHECKSUM")
    if not beside.is_file():
        return
    wanted = beside.read_text(encoding="utf-8", errors="replace").split()[:1]
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if wanted != [digest.hexdigest()]:
        raise FormatRefused(f"{file} is not what {beside.name} says", fix="download both again")
