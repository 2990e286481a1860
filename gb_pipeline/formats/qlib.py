"""Qlib's data folders: a calendar, instruments, and a file of 32-bit floats for each field of each instrument.

A file begins with the place of its first value in the calendar. Prices are adjusted: `factor` is what they were multiplied by, and
volumes divided by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, FormatRefused, GbError, InvalidResolution, NaiveTimestamp
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.frames import as_stamps
from gb_pipeline.formats.numbers import shortest_text
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol

_FIELDS = (*PRICES, "volume")
_CHINESE = re.compile(r"(?:SH|SZ|BJ)[0-9]{6}")
# How Qlib writes names that a file system keeps for itself.
_PREFIX = "_qlib_"


def open_folder(path: Path, options: ReadOptions) -> Archive:
    """A data folder (`provider_uri`); see `archive.Reader`."""
    calendars, features = path / "calendars", path / "features"
    if not calendars.is_dir() or not features.is_dir():
        raise FormatRefused(
            f"{path} has no calendars/ and features/", fix="name the folder that Qlib calls provider_uri"
        )
    series: list[ArchiveSeries] = []
    skipped: dict[str, str] = {}
    used: list[Path] = []
    adjusted = False
    folders = sorted(folder for folder in features.iterdir() if folder.is_dir())
    for file in sorted(calendars.glob("*.txt")):
        frequency = file.stem
        if frequency.endswith("_future"):
            continue
        try:
            resolution = Resolution.parse(frequency)
        except InvalidResolution as error:
            skipped[file.name] = error.what
            continue
        stamps = _read_calendar(file, resolution, options.timezone)
        for folder in folders:
            files = {name: folder / f"{name}.{frequency}.bin" for name in (*_FIELDS, "factor")}
            if not any(files[name].is_file() for name in _FIELDS):
                continue
            name = folder.name.removeprefix(_PREFIX).upper()
            if missing := [field for field in _FIELDS if not files[field].is_file()]:
                skipped[f"{name} {frequency}"] = f"there is no {', '.join(missing)}"
                continue
            try:
                symbol = Symbol.of(name, options.asset_class or AssetClass.EQUITY)
            except GbError as error:
                skipped[name] = error.what
                continue
            adjusted = adjusted or _is_adjusted(files["factor"])
            used += [files[field] for field in _FIELDS]
            read = partial(_read, {field: files[field] for field in _FIELDS}, stamps)
            series.append(ArchiveSeries(symbol, resolution, f"{folder.name} {frequency}", read))
    calendar = options.calendar or _calendar(path, series)
    notes = [
        "Numbers are 32-bit floats, of about seven digits: each is stored as the shortest decimal that reads back as it."
    ]
    if adjusted:
        notes.append(
            "Prices are adjusted and volumes are divided by the same factors, as Qlib keeps them; the source says so."
        )
    return Archive(
        series=tuple(series),
        files=tuple(used),
        asset_class=options.asset_class or AssetClass.EQUITY,
        calendar=calendar,
        adjustment=Adjustment.ALL if adjusted else Adjustment.RAW,
        notes=tuple(notes),
        skipped=skipped,
    )


def _calendar(path: Path, series: list[ArchiveSeries]) -> str:
    if series and all(_CHINESE.fullmatch(item.symbol.code) for item in series):
        return "XSHG"
    raise ConfigError(f"{path} does not name the exchange", fix="say which, such as --calendar XNYS")


def _read_calendar(file: Path, resolution: Resolution, zone: str | None) -> pl.Series:
    """The opens of all bars, a line each."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, str(error)) from None
    texts = pl.Series("timestamp", [line.strip() for line in lines if line.strip()], dtype=pl.String)
    form = "%Y-%m-%d %H:%M:%S" if resolution.intraday else "%Y-%m-%d"
    parsed = texts.str.slice(0, 19 if resolution.intraday else 10).str.strptime(pl.Datetime("us"), form, strict=False)
    if parsed.null_count():
        number = int(parsed.is_null().arg_max() or 0)
        raise _damaged(file, f"line {number + 1}: {texts[number][:40]!r} is no time")
    if not parsed.is_sorted() or parsed.n_unique() != parsed.len():
        raise _damaged(file, "its times go back, or repeat themselves")
    if zone is not None:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ConfigError(f"{zone!r} is no time zone", fix="such as Asia/Shanghai") from None
    if resolution.intraday and zone is None:
        raise NaiveTimestamp(f"{file}: its times have no zone", fix="say which, such as --timezone Asia/Shanghai")
    return as_stamps(parsed, str(file), resolution, zone if resolution.intraday else None)


def _read(files: dict[str, Path], stamps: pl.Series) -> Iterator[pl.DataFrame]:
    """The bars of one instrument: where it has no price, it has no bar."""
    columns = {name: _read_values(file, stamps.len()) for name, file in files.items()}
    spans = {name: (start, start + len(values)) for name, (start, values) in columns.items()}
    first, last = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    for start in range(first, last, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, last)
        numbers = {}
        for name, (begin, values) in columns.items():
            part = np.full(stop - start, np.nan, dtype=np.float32)
            low, high = max(start, begin), min(stop, begin + len(values))
            if low < high:
                part[low - start : high - start] = values[low - begin : high - begin]
            numbers[name] = pl.Series(name, part)
        rows = pl.DataFrame({"timestamp": stamps.slice(start, stop - start), **numbers})
        there = rows.filter(~pl.all_horizontal(pl.col(name).is_nan() for name in PRICES))
        yield there.with_columns(shortest_text(there[name]) for name in _FIELDS)


def _read_values(file: Path, length: int) -> tuple[int, Any]:
    """Where the first value stands in the calendar, and the values."""
    try:
        body = np.fromfile(file, dtype="<f4")
        size = file.stat().st_size
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from None
    if size % 4 or not size:
        raise _damaged(file, f"it has {size:,} bytes, no whole number of 32-bit floats")
    start = float(body[0])
    if not start.is_integer() or start < 0 or start + len(body) - 1 > length:
        raise _damaged(file, f"{len(body) - 1:,} values from place {start:g} on do not fit a calendar of {length:,}")
    return int(start), body[1:]


def _is_adjusted(file: Path) -> bool:
    """Whether a factor is another one than 1."""
    if not file.is_file():
        return False
    factors = np.fromfile(file, dtype="<f4")[1:]
    return bool(((factors != 1) & ~np.isnan(factors)).any())


def _damaged(file: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{file}: {why}", fix="make it again with Qlib's dump_bin")
