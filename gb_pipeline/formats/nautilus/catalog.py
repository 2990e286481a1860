"""A catalog of NautilusTrader: bars of the last price, or of the bid where there is no other.

Its bars are stamped by their close, unless whoever wrote the catalog chose otherwise: `stamp` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import ConfigError, FormatRefused, GbError
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.nautilus.numbers import read_column
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import AssetClass, Symbol

_BAR_TYPE = re.compile(
    r"(?P<symbol>.+)\.(?P<venue>[^.]+)-(?P<step>[0-9]+)-(?P<unit>SECOND|MINUTE|HOUR|DAY|WEEK|MONTH)"
    r"-(?P<price>LAST|BID|ASK|MID|MARK)-(?:EXTERNAL|INTERNAL)"
)
# Folders of instruments, by what is in them.
_CLASSES = {
    "equity": AssetClass.EQUITY, "index_instrument": AssetClass.EQUITY, "crypto_perpetual": AssetClass.CRYPTO,
    "crypto_future": AssetClass.CRYPTO, "currency_pair": AssetClass.CRYPTO, "futures_contract": AssetClass.FUTURE,
    "option_contract": AssetClass.OPTION,
}  # fmt: skip
# Codes of the American exchanges, which share their sessions.
_AMERICAN = {"XNAS", "XNYS", "ARCX", "BATS", "IEXG", "XASE", "NASDAQ", "NYSE", "ARCA", "AMEX", "EQUS"}
_PREFERRED = ("LAST", "BID")
_COLUMNS = (*PRICES, "volume")


@dataclass(frozen=True, slots=True)
class _BarType:
    """What `AAPL.XNAS-1-MINUTE-LAST-EXTERNAL` says."""

    text: str
    symbol: str
    venue: str
    resolution: Resolution
    price: str


def open_catalog(path: Path, options: ReadOptions) -> Archive:
    """The bars of a catalog; see `archive.Reader`."""
    data = path / "data" if (path / "data").is_dir() else path
    files, skipped = _find_bars(data)
    if not files:
        raise FormatRefused(
            f"{path} has no bars of a NautilusTrader catalog",
            fix="name the folder that holds data/bar; files of bars have bar_type in their metadata",
        )
    classes, pairs = _read_instruments(data)
    kinds = {bar_type: classes.get(f"{bar_type.symbol}.{bar_type.venue}") for bar_type in files}
    known = sorted({kind for kind in kinds.values() if kind is not None})
    if len(known) > 1 and options.asset_class is None:
        raise ConfigError(
            f"{path} has instruments of {', '.join(known)}",
            fix=f"import them one by one, under a source each: --asset-class {known[0]}",
        )
    asset_class = options.asset_class or (known[0] if known else AssetClass.EQUITY)
    for bar_type, kind in kinds.items():
        if kind not in {None, asset_class}:
            del files[bar_type]
            skipped[bar_type.text] = f"it is {kind}"
    calendar = options.calendar or _calendar(path, asset_class, {bar_type.venue for bar_type in files})
    series = []
    on_close = options.stamp != "open"
    for bar_type, own in files.items():
        try:
            symbol = Symbol.of(pairs.get(f"{bar_type.symbol}.{bar_type.venue}", bar_type.symbol), asset_class)
        except GbError as error:
            skipped[bar_type.text] = error.what
            continue
        read = partial(_read, tuple(own), bar_type.resolution, get_calendar(calendar), on_close)
        series.append((bar_type, ArchiveSeries(symbol, bar_type.resolution, bar_type.text, read)))
    chosen = _prefer(series, skipped)
    when = "close, as NautilusTrader does by default (--stamp open says otherwise)" if on_close else "open"
    notes = [f"Bars are taken for stamped by their {when}."]
    if any(item.origin.split("-")[-2] == "BID" for item in chosen):
        notes.append("Where there is no last price, bars are those of the bid.")
    return Archive(
        series=tuple(chosen),
        files=tuple(sorted(file for own in files.values() for file in own)),
        asset_class=asset_class,
        calendar=calendar,
        notes=tuple(notes),
        skipped=skipped,
    )


def _find_bars(data: Path) -> tuple[dict[_BarType, list[Path]], dict[str, str]]:
    """Files of bars by their type, in the order of their names, which begin with their first moment."""
    import pyarrow.parquet as pq

    folders = [folder for folder in (data / "bar", data / "bars") if folder.is_dir()] or [data]
    found: dict[_BarType, list[Path]] = {}
    skipped: dict[str, str] = {}
    for file in sorted(file for folder in folders for file in folder.rglob("*.parquet")):
        try:
            metadata = pq.read_schema(file).metadata or {}
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, str(error)) from None
        text = metadata.get(b"bar_type", b"").decode("utf-8", "replace")
        match = _BAR_TYPE.fullmatch(text)
        if match is None:
            skipped[file.relative_to(data).as_posix()] = f"{text[:80]!r} is no type of bars in time"
            continue
        try:
            resolution = Resolution.parse(f"{match['step']} {match['unit'].lower()}")
        except GbError as error:
            skipped[text] = error.what
            continue
        bar_type = _BarType(text, match["symbol"], match["venue"], resolution, match["price"])
        found.setdefault(bar_type, []).append(file)
    return found, skipped


def _prefer(series: list[tuple[_BarType, ArchiveSeries]], skipped: dict[str, str]) -> list[ArchiveSeries]:
    """Of several prices of one instrument, the one at which was traded."""
    best: dict[tuple[Symbol, Resolution], tuple[_BarType, ArchiveSeries]] = {}
    for bar_type, item in series:
        if bar_type.price not in _PREFERRED:
            skipped[bar_type.text] = f"{bar_type.price} is no price at which was traded"
            continue
        key = (item.symbol, item.resolution)
        other = best.get(key)
        if other is None or _PREFERRED.index(bar_type.price) < _PREFERRED.index(other[0].price):
            best[key] = (bar_type, item)
            if other is not None:
                skipped[other[0].text] = f"{bar_type.text} is taken instead"
        elif other[0].price == bar_type.price:
            raise FormatRefused(
                f"{other[0].text} and {bar_type.text} are both {item.symbol} {item.resolution}",
                fix="import them one by one, under a source each",
            )
        else:
            skipped[bar_type.text] = f"{other[0].text} is taken instead"
    return [item for _, item in best.values()]


def _read_instruments(data: Path) -> tuple[dict[str, AssetClass], dict[str, str]]:
    """The kind of each instrument, and `BTC/USDT` of those that are pairs."""
    import pyarrow.parquet as pq

    classes: dict[str, AssetClass] = {}
    pairs: dict[str, str] = {}
    for folder, kind in _CLASSES.items():
        for file in sorted((data / folder).rglob("*.parquet")):
            try:
                rows = pl.DataFrame(pq.read_table(file))
            except (pa.ArrowException, OSError) as error:
                raise _damaged(file, str(error)) from None
            for row in rows.rows(named=True):
                name = str(row.get("id"))
                classes[name] = kind
                if folder == "currency_pair" and row.get("base_currency") and row.get("quote_currency"):
                    pairs[name] = f"{row['base_currency']}/{row['quote_currency']}"
    return classes, pairs


def _calendar(path: Path, asset_class: AssetClass, venues: set[str]) -> str:
    if asset_class is AssetClass.CRYPTO:
        return "24/7"
    if asset_class is AssetClass.FOREX:
        return "FX"
    if venues <= _AMERICAN:
        return "XNYS"
    raise ConfigError(f"{path} does not say which sessions there are", fix="say it, such as --calendar XLON")


def _read(
    files: tuple[Path, ...], resolution: Resolution, calendar: Calendar, on_close: bool
) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    for file in files:
        try:
            with pq.ParquetFile(file) as reader:
                if missing := [name for name in (*_COLUMNS, "ts_event") if name not in reader.schema_arrow.names]:
                    raise _damaged(file, f"it has no column {', '.join(missing)}")
                for batch in reader.iter_batches(CHUNK_ROWS, columns=[*_COLUMNS, "ts_event"]):
                    columns = {name: read_column(batch[name], f"{file}, column {name}") for name in _COLUMNS}
                    stamps = _open_of(batch["ts_event"], file, resolution, calendar, on_close)
                    yield pl.DataFrame({"timestamp": stamps, **columns})
        except (pa.ArrowException, OSError) as error:
            raise _damaged(file, str(error)) from None


def _open_of(column: pa.Array, file: Path, resolution: Resolution, calendar: Calendar, on_close: bool) -> pl.Series:
    """The opens of bars, or the sessions of those of a day and longer."""
    if not pa.types.is_integer(column.type) and not pa.types.is_timestamp(column.type):
        raise _damaged(file, f"ts_event is {column.type}")
    integers = pl.Series("timestamp", pl.from_arrow(column)).cast(pl.Int64, strict=False)
    if (integers % 1000 != 0).any():
        raise _damaged(file, "its times are finer than a microsecond")
    stamps = (integers // 1000).cast(pl.Datetime("us", "UTC"))
    length = resolution.duration
    if resolution.intraday and length is not None:
        return stamps - length if on_close else stamps
    # A microsecond before its close a bar of a day is in its session.
    inside = stamps - timedelta(microseconds=1) if on_close else stamps
    sessions = calendar.session_of(inside, Resolution.MINUTE).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return sessions.fill_null(inside.dt.truncate("1d")).alias("timestamp")


def _damaged(file: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{file}: {why}", fix="write it again with NautilusTrader")
