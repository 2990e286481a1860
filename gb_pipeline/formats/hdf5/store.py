"""HDF5 stores of pandas: a frame of bars per key, whose names say the symbol and, mostly, the length of the bars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.errors import FormatRefused, InvalidResolution, InvalidSymbol
from gb_pipeline.formats.archive import Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.frames import read_frame
from gb_pipeline.formats.hdf5.pandas_layout import StoredFrame, find_frames
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol

_SUFFIXES = {".h5", ".hdf", ".hdf5"}
# Keys that name no instrument: the file's name does then.
_NO_SYMBOL = {"df", "data", "table", "bars", "ohlcv", "prices", "frame"}


def open_store(path: Path, options: ReadOptions) -> Archive:
    """The frames of a file, or of all files of a folder; see `archive.Reader`."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    asset_class = options.asset_class or AssetClass.EQUITY
    series: list[ArchiveSeries] = []
    skipped: dict[str, str] = {}
    for file in files:
        for frame in find_frames(file):
            name = f"{file.name} {frame.key}"
            try:
                symbol, found = _read_key(frame, asset_class)
                resolution = options.resolution_or(found, name)
            except InvalidSymbol as error:
                skipped[name] = error.what
                continue
            series.append(ArchiveSeries(symbol, resolution, name, partial(_read, frame, resolution, options)))
    if files and not series and not skipped:
        raise FormatRefused(
            f"{path} has no frame of pandas", fix="write frames with DataFrame.to_hdf, a key for each symbol"
        )
    calendar = options.calendar_or_refuse(asset_class, path)
    return Archive(
        series=tuple(series),
        files=tuple(files),
        asset_class=asset_class,
        calendar=calendar,
        notes=(
            "Numbers are floats in these files: each is stored as the shortest decimal that reads back as it.",
            "Whether prices are adjusted the files do not say: they count as traded, unless --adjustment says otherwise.",
        ),
        skipped=skipped,
    )


def _read_key(frame: StoredFrame, asset_class: AssetClass) -> tuple[Symbol, Resolution | None]:
    """`daily/AAPL`, `AAPL/1m`, `BTC/USDT/ohlcv/tf_5m`; or `df`, of a file that is named by the symbol."""
    names, resolution = [], None
    for part in frame.key.split("/"):
        try:
            resolution = Resolution.parse(part.removeprefix("tf_"))
        except InvalidResolution:
            if part.lower() not in _NO_SYMBOL:
                names.append(part)
    if not names:
        names = [re.sub(r"[_-](?:[0-9]+[A-Za-z]{1,2})$", "", frame.file.stem)]
    text = "/".join(names) if asset_class in {AssetClass.CRYPTO, AssetClass.FOREX} and len(names) <= 2 else names[-1]
    return Symbol.of(text, asset_class), resolution


def _read(frame: StoredFrame, resolution: Resolution, options: ReadOptions) -> Iterator[pl.DataFrame]:
    place = f"{frame.file}, {frame.key}"
    for chunk in frame.read():
        yield read_frame(
            chunk, place, resolution, zone=options.timezone, stamp=options.stamp, calendar=options.calendar or "24/7"
        )
