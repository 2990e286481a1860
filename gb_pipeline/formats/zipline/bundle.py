"""A bundle as zipline has ingested it: daily bars, minutes, assets and adjustments.

Rows are placed by the day that they carry: counting sessions puts them on wrong days as soon as one is missing or too many. A
minute is labelled by its end in zipline, and by its open here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, FormatRefused, InvalidSymbol
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.numbers import divide_exactly
from gb_pipeline.formats.zipline.assets import Asset, find_assets, listing_actions, read_actions, read_assets
from gb_pipeline.formats.zipline.bcolz import Table, read_json
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import AssetClass, Symbol

_DAILY, _MINUTE, _ADJUSTMENTS = "daily_equities.bcolz", "minute_equities.bcolz", "adjustments.sqlite"
_COLUMNS = (*PRICES, "volume")
_DAILY_DECIMALS = 3
# zipline's names of calendars that the lake knows under another one.
_CALENDARS = {
    "NYSE": "XNYS",
    "NASDAQ": "XNYS",
    "us_equities": "XNYS",
    "CME": "CMES",
    "us_futures": "CMES",
    "LSE": "XLON",
    "TSX": "XTSE",
}
_NOTES = (
    "Prices are what zipline keeps: thousandths, so digits beyond the third were lost when the bundle was made.",
    "Volumes are whole numbers of 32 bits, and whether whoever made the bundle adjusted them for splits it does not say.",
    "Dividends have no currency, and dates of declaration, record and payment only where the bundle has them.",
)


def open_bundle(path: Path, options: ReadOptions) -> Archive:
    """The bundle in a folder, or the newest one below it; see `archive.Reader`."""
    bundle = _find_bundle(path)
    assets_file = find_assets(bundle)
    assets = read_assets(assets_file)
    codes, skipped = _codes(assets)
    daily, minute = bundle / _DAILY, bundle / _MINUTE
    series = [*_daily_series(daily, codes, skipped), *_minute_series(minute, codes)]
    notes = [*_NOTES, *([f"Of several bundles {bundle.name} is the newest."] if bundle != path else [])]
    for asset in assets.values():
        if len(asset.tickers) > 1 and asset.sid in codes:
            notes.append(
                f"{codes[asset.sid]} was {', '.join(asset.tickers[:-1])} before: all its bars stand under the newest name."
            )
    actions = listing_actions(assets, codes)
    if (adjustments := bundle / _ADJUSTMENTS).exists():
        found, left_out = read_actions(adjustments, codes)
        actions = pl.concat([found, actions])
        notes += left_out
    return Archive(
        series=tuple(series),
        files=tuple(file for file in sorted(bundle.rglob("*")) if file.is_file()),
        asset_class=options.asset_class or AssetClass.EQUITY,
        calendar=_calendar(daily, minute),
        actions=actions,
        notes=tuple(notes),
        skipped=skipped,
    )


def _find_bundle(path: Path) -> Path:
    """The folder itself, or the newest below it: zipline names them by the moment of the ingest, with `;` for `:`."""
    if (path / _DAILY).is_dir() or (path / _MINUTE).is_dir():
        return path
    below = (
        [folder for folder in path.iterdir() if (folder / _DAILY).is_dir() or (folder / _MINUTE).is_dir()]
        if path.is_dir()
        else []
    )
    if not below:
        raise FormatRefused(
            f"{path} is no bundle of zipline: there is no {_DAILY} and no {_MINUTE}",
            fix="name a folder such as ~/.zipline/data/quandl/2018-03-01T00;00;00.000000",
        )
    return max(below, key=lambda folder: folder.name)


def _codes(assets: dict[int, Asset]) -> tuple[dict[int, str], dict[str, str]]:
    """Canonical codes by sid, and assets that cannot have one. Of two with one ticker the one that ended last keeps it."""
    codes: dict[int, str] = {}
    skipped: dict[str, str] = {}
    taken: set[str] = set()
    for asset in sorted(
        assets.values(), key=lambda item: (item.last is not None, item.last or 0, item.sid), reverse=True
    ):
        try:
            code = Symbol.equity(asset.ticker).code
            if code in taken:
                code = Symbol.equity(f"{asset.ticker}-SID{asset.sid}").code
        except InvalidSymbol as error:
            skipped[f"sid {asset.sid}"] = error.what
            continue
        taken.add(code)
        codes[asset.sid] = code
    return dict(sorted(codes.items())), skipped


def _calendar(daily: Path, minute: Path) -> str:
    """What the tables say; New York's where they say nothing, as zipline did before it knew others."""
    for file in (daily / "__attrs__", minute / "metadata.json"):
        if file.exists() and (name := read_json(file).get("calendar_name")):
            try:
                return get_calendar(_CALENDARS.get(str(name), str(name))).name
            except ConfigError as error:
                raise FormatRefused(f"{file}: {error.what}", fix="name the calendar, such as --calendar XNYS") from None
    return "XNYS"


def _daily_series(folder: Path, codes: dict[int, str], skipped: dict[str, str]) -> list[ArchiveSeries]:
    """One for each sid; all of them lie in one table, one after the other."""
    if not folder.is_dir():
        return []
    attributes = read_json(folder / "__attrs__")
    firsts, lasts = attributes.get("first_row"), attributes.get("last_row")
    if not isinstance(firsts, dict) or not isinstance(lasts, dict):
        raise FormatRefused(
            f"{folder / '__attrs__'} does not say where sids begin and end", fix="ingest the bundle again"
        )
    table = Table(folder, ("day", *_COLUMNS))
    series = []
    for text in sorted(firsts, key=lambda sid: int(sid) if sid.isdecimal() else -1):
        sid = int(text) if text.isdecimal() else -1
        if sid not in codes:
            skipped.setdefault(f"sid {text[:20]}", "the bundle does not say which asset it is")
            continue
        try:
            start, stop = int(firsts[text]), int(lasts[text]) + 1
        except (KeyError, TypeError, ValueError):
            raise FormatRefused(
                f"{folder / '__attrs__'} has no rows of sid {text}", fix="ingest the bundle again"
            ) from None
        read = partial(_read_days, table, start, stop)
        series.append(ArchiveSeries(Symbol.equity(codes[sid]), Resolution.DAY, f"{_DAILY} sid {sid}", read))
    return series


def _read_days(table: Table, start: int, stop: int) -> Iterator[pl.DataFrame]:
    columns = table.read(start, stop)
    yield _frame(columns.pop("day").astype(np.int64) * 1_000_000, columns, _DAILY_DECIMALS).sort(
        "timestamp", maintain_order=True
    )


def _minute_series(folder: Path, codes: dict[int, str]) -> list[ArchiveSeries]:
    """A table for each sid, with a slot for each minute of each session; slots of half days and without a trade are zero."""
    if not (folder / "metadata.json").exists():
        return []
    metadata = read_json(folder / "metadata.json")
    series = []
    for sid, code in codes.items():
        name = f"{sid:06d}"
        place = folder / name[:2] / name[2:4] / f"{name}.bcolz"
        if place.is_dir():
            read = partial(_read_minutes, place, metadata, sid)
            series.append(ArchiveSeries(Symbol.equity(code), Resolution.MINUTE, f"{_MINUTE} sid {sid}", read))
    return series


def _read_minutes(place: Path, metadata: dict[str, Any], sid: int) -> Iterator[pl.DataFrame]:
    about = place.parents[2] / "metadata.json"
    try:
        per_day = int(metadata["minutes_per_day"])
        ratios = metadata.get("ohlc_ratios_per_sid") or {}
        ratio = int(ratios.get(str(sid), metadata["ohlc_ratio"]))
        sessions = _first_minutes(metadata)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise FormatRefused(
            f"{about} does not say which sessions of how many minutes there are", fix="ingest the bundle again"
        ) from None
    decimals = len(str(ratio)) - 1
    if ratio != 10**decimals or decimals > 9 or not 0 < per_day <= 1440:
        raise FormatRefused(
            f"{place}: prices of 1/{ratio} in days of {per_day} minutes are not read", fix="use a power of ten"
        )
    table = Table(place, _COLUMNS)
    if table.length > len(sessions) * per_day:
        raise FormatRefused(
            f"{place} has {table.length:,} minutes, and its {len(sessions):,} sessions have room for {len(sessions) * per_day:,}",
            fix="ingest the bundle again",
        )
    step = max(CHUNK_ROWS // per_day, 1) * per_day
    for start in range(0, table.length, step):
        stop = min(start + step, table.length)
        columns = table.read(start, stop)
        slot = np.arange(start, stop)
        opens = (sessions[slot // per_day] + slot % per_day) * 60_000_000
        there = (columns["close"] != 0) | (columns["volume"] != 0)
        if there.any():
            yield _frame(opens[there], {name: values[there] for name, values in columns.items()}, decimals)


def _first_minutes(metadata: dict[str, Any]) -> Any:
    """The open of each session, in minutes since 1970: older zipline lists the first labels, newer one names its calendar."""
    if "market_opens" in metadata:
        # A label is the minute's end.
        return np.asarray(metadata["market_opens"], dtype=np.int64) - 1
    name = str(metadata["calendar_name"])
    first, last = (date.fromisoformat(str(metadata[f"{end}_session"])[:10]) for end in ("start", "end"))
    schedule = get_calendar(_CALENDARS.get(name, name)).schedule(first, last + timedelta(days=1))
    return schedule["open"].dt.epoch("us").to_numpy() // 60_000_000


def _frame(stamps: Any, columns: dict[str, Any], decimals: int) -> pl.DataFrame:
    """Bars; a price of zero is none in zipline."""
    return pl.DataFrame(
        {
            "timestamp": pl.Series(stamps, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            **{name: divide_exactly(columns[name], decimals, missing=0) for name in PRICES},
            "volume": divide_exactly(columns["volume"], 0),
        }
    )
