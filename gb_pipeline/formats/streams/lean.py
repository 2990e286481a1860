"""Ticks of a data folder of LEAN: `<kind>/<market>/tick/<ticker>/<date>_trade.zip` and `_quote.zip`, one market of it.

Times are milliseconds since midnight in the market's data time zone. Forex and CFDs have quotes without sizes, crypto has trades
and quotes with them. Ticks of other kinds carry exchanges and conditions that a lake has no place for, and are named as left out.

Source: github.com/QuantConnect/Lean, `Common/Util/LeanData.cs` and `Data/*/readme.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused, InvalidSymbol
from gb_pipeline.formats.streams.archive import StreamArchive, StreamChunk, StreamFile, StreamOptions
from gb_pipeline.formats.streams.ordinals import Ordinals
from gb_pipeline.formats.streams.text_files import find_files, place_of, read_first_line, read_lines
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.csv.presets import LEAN_MARKETS

_PATH = re.compile(
    r"(?:.*/)?(?P<kind>[a-z]+)/(?P<market>[a-z0-9]+)/tick/(?P<ticker>[^/]+)/(?P<day>[0-9]{8})_(?P<what>trade|quote)\.zip"
)
_KINDS = {
    "forex": AssetClass.FOREX, "cfd": AssetClass.FOREX, "crypto": AssetClass.CRYPTO, "cryptofuture": AssetClass.CRYPTO,
}  # fmt: skip
_FIELDS = {
    ("quote", 3): ("time", "bid_price", "ask_price"),
    ("quote", 5): ("time", "bid_price", "bid_size", "ask_price", "ask_size"),
    ("trade", 3): ("time", "price", "size"),
}
_SIZES = ("bid_size", "ask_size")


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    symbol: str
    what: str
    day: date
    zone: str
    names: tuple[str, ...]


def open_folder(path: Path, options: StreamOptions) -> StreamArchive:
    """One market of a data folder; see `archive.StreamReader`."""
    skipped: dict[str, str] = {}
    files: list[_File] = []
    markets: set[str] = set()
    for file in find_files(path, ".zip"):
        named = _PATH.fullmatch(file.absolute().as_posix())
        if named is None:
            continue
        market = f"{named['kind']}/{named['market']}"
        kind = _KINDS.get(named["kind"])
        zone = LEAN_MARKETS.get(market) or LEAN_MARKETS.get(named["kind"])
        if kind is None or zone is None:
            skipped[f"{market}/tick"] = "its ticks carry exchanges and conditions that a lake has no place for"
            continue
        names = _FIELDS.get((named["what"], len(read_first_line(file))))
        if names is None:
            skipped[place_of(file, path)] = "its lines have another number of fields than LEAN's"
            continue
        try:
            suffix = "-PERP" if named["kind"] == "cryptofuture" else ""
            code = options.canonical(named["ticker"].upper(), kind, suffix=suffix)
        except InvalidSymbol as error:
            skipped[place_of(file, path)] = error.what
            continue
        markets.add(market)
        day = datetime.strptime(named["day"], "%Y%m%d").date()
        files.append(_File(file, code, named["what"], day, zone.timezone, names))
    if len(markets) > 1:
        raise FormatRefused(
            f"{path} has ticks of {list_some(sorted(markets))}", fix="import markets one by one, under a source each"
        )
    files.sort(key=lambda file: (file.what, file.symbol, file.day))
    state = _State()
    notes = [f"Times are those of {zone}, as LEAN keeps its market." for zone in sorted({file.zone for file in files})]
    if any(file.what == "quote" and len(file.names) == 3 for file in files):
        notes.append("There are no sizes of quotes.")
    return StreamArchive(
        parts=tuple(StreamFile(place_of(file.path, path), partial(state.read, file)) for file in files),
        files=tuple(file.path for file in files),
        asset_class=_KINDS[next(iter(markets)).partition("/")[0]] if markets else AssetClass.FOREX,
        notes=(*notes, "Trades of LEAN have neither ids nor sides."),
        skipped=skipped,
    )


@dataclass
class _State:
    """What is remembered from one chunk to the next."""

    ordinals: dict[str, Ordinals] = field(default_factory=dict)

    def read(self, file: _File) -> Iterator[StreamChunk]:
        """The chunks of a file."""
        table = "quotes" if file.what == "quote" else "trades"
        numbers = self.ordinals.setdefault(table, Ordinals(""))
        numbers.place = str(file.path)
        for lines in read_lines(file.path, file.names, has_header=False):
            rows = lines.frame.with_row_index("record").select(
                "record",
                pl.lit(file.symbol).alias("symbol"),
                _moment(file).alias("exchange_time"),
                pl.lit(None, pl.Int64()).alias("receive_time"),
                pl.col(file.names[1:]),
            )
            if table == "quotes":
                rows = rows.with_columns(
                    pl.lit(None, pl.String()).alias(name) for name in _SIZES if name not in rows.columns
                )
            else:
                rows = rows.with_columns(
                    pl.lit(None, pl.String()).alias("side"), pl.lit(None, pl.String()).alias("trade_id")
                )
            yield StreamChunk(
                table, numbers.number(rows, "exchange_time"), lines.frame, lines.first, lines.broken, file.symbol
            )


def _moment(file: _File) -> pl.Expr:
    """ns since 1970 UTC of milliseconds of the wall clock since midnight; null where the clock has no or two such times."""
    milliseconds = pl.col("time").cast(pl.Int64, strict=False)
    inside = pl.when(milliseconds.is_between(0, 86_400_000 - 1)).then(milliseconds)
    local = pl.lit(file.day).cast(pl.Datetime("ns")) + pl.duration(milliseconds=inside)
    zoned = local.dt.replace_time_zone(file.zone, ambiguous="null", non_existent="null")
    return zoned.dt.convert_time_zone("UTC").dt.epoch("ns")
