"""ArcticDB on LMDB: a frame of bars per symbol of each library, read some rows at a time by ArcticDB itself.

It needs the package arcticdb, which is not among the extras: it cannot be installed beside pandas 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.errors import FormatRefused, InvalidResolution, InvalidSymbol
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.frames import read_frame
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import AssetClass, Symbol

_CONFIG = "_arctic_cfg"
_NEEDED = {*PRICES, "volume"}


def open_store(path: Path, options: ReadOptions) -> Archive:
    """The libraries of a store, or one of them; see `archive.Reader`."""
    root, only = (path, None) if (path / _CONFIG).is_dir() else (path.parent, path.name)
    if not (root / _CONFIG).is_dir():
        raise FormatRefused(
            f"{path} is no store of ArcticDB on LMDB: there is no {_CONFIG}", fix="name its folder, or a library in it"
        )
    arctic = _open(root)
    asset_class = options.asset_class or AssetClass.EQUITY
    series: list[ArchiveSeries] = []
    skipped: dict[str, str] = {}
    content: list[tuple[str, str, str]] = []
    for name in sorted(arctic.list_libraries()):
        if only in {None, name}:
            library = arctic[name]
            for symbol in sorted(library.list_symbols()):
                try:
                    series.append(_series(library, name, symbol, asset_class, options))
                    content.append((name, symbol, _version(library, symbol)))
                except (InvalidSymbol, FormatRefused) as error:
                    skipped[f"{name} {symbol}"] = error.what
    calendar = options.calendar_or_refuse(asset_class, path)
    return Archive(
        series=tuple(series),
        files=tuple(file for file in sorted(root.rglob("data.mdb")) if only in {None, file.parent.name}),
        # To list symbols may write into the store.
        content=repr(content),
        asset_class=asset_class,
        calendar=calendar,
        notes=(
            "Only the newest version of each symbol is read.",
            "Floats are stored as the shortest decimal that reads back as them.",
            "Whether prices are adjusted the store does not say: they count as traded, unless --adjustment says otherwise.",
        ),
        skipped=skipped,
    )


def _open(root: Path) -> Any:
    import arcticdb  # type: ignore[import-not-found, unused-ignore]

    try:
        return arcticdb.Arctic(f"lmdb://{root.resolve()}")
    except Exception as error:
        raise FormatRefused(
            f"{root}: {str(error)[:300]}", fix="open it with arcticdb, and name the folder of the store"
        ) from None


def _series(library: Any, name: str, symbol: str, asset_class: AssetClass, options: ReadOptions) -> ArchiveSeries:
    """One symbol; what it holds is looked at before anything is read, because objects are pickled."""
    described = library.get_description(symbol)
    columns = {str(column.name).lower() for column in described.columns}
    if described.row_count is None or not columns >= _NEEDED:
        missing = sorted(_NEEDED - columns)
        raise FormatRefused(f"it has no column {', '.join(missing)}", fix="write frames of bars")
    place = f"{name} {symbol}"
    resolution = options.resolution_or(_resolution(name, symbol), place)
    read = partial(_read, library, symbol, described.row_count, place, resolution, options)
    return ArchiveSeries(Symbol.of(symbol.rpartition("/")[2], asset_class), resolution, place, read)


def _version(library: Any, symbol: str) -> str:
    """What the newest version of a symbol is known by: a copy of the store has the same, and no other version has."""
    described = library.get_description(symbol)
    return f"{described.last_update_time} {described.row_count} {described.date_range}"


def _resolution(library: str, symbol: str) -> Resolution | None:
    """The length that a part of the library's name is, or of the symbol's: `us.daily`, `1m/AAPL`."""
    for part in [*symbol.split("/")[:-1], *library.replace("/", ".").split(".")]:
        try:
            return Resolution.parse(part)
        except InvalidResolution:
            continue
    return None


def _read(
    library: Any, symbol: str, rows: int, place: str, resolution: Resolution, options: ReadOptions
) -> Iterator[pl.DataFrame]:
    for start in range(0, rows, CHUNK_ROWS):
        try:
            frame = library.read(symbol, row_range=(start, min(start + CHUNK_ROWS, rows))).data
        except Exception as error:
            raise FormatRefused(
                f"{place}: {str(error)[:300]}", fix="read it with arcticdb to see what is wrong"
            ) from None
        chunk = pl.from_pandas(frame.reset_index())
        yield read_frame(
            chunk, place, resolution, zone=options.timezone, stamp=options.stamp, calendar=options.calendar or "24/7"
        )
