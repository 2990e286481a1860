"""How pandas lays frames out in HDF5: `fixed` and `table` stores as `DataFrame.to_hdf` writes them.

PyTables unpickles attributes as soon as it meets them, which runs whatever a hostile file says. Here h5py reads the data, and of
pickled attributes only the texts in them are looked at; no object is made.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.archive import CHUNK_ROWS
from gb_pipeline.formats.hdf5.chunks import read_rows

_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
# Bytes of a row; a hostile type must not ask for all memory.
_WIDEST_ROW = 1 << 16
_UNITS = {
    "datetime64": "ns",
    "datetime64[ns]": "ns",
    "datetime64[us]": "us",
    "datetime64[ms]": "ms",
    "datetime64[s]": "ms",
}


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame of a store: its file, and its key such as `daily/AAPL`."""

    file: Path
    key: str

    def read(self) -> Iterator[pl.DataFrame]:
        """Its rows, some at a time; times have the zone that the store says, if it does. The index is the column `index`.

        Raises:
            FormatRefused: it is damaged, or laid out in no way that is known.
        """
        with _open(self.file) as store:
            group = _member(store, self.key, self.file)
            kind = _text(group.attrs.get("pandas_type"))
            place = f"{self.file}, {self.key}"
            yield from _read_table(group, place) if kind == "frame_table" else _read_fixed(group, place)


def find_frames(file: Path) -> list[StoredFrame]:
    """The frames of a store, by key.

    Raises:
        FormatRefused: it is no HDF5 file.
    """
    found = []
    with _open(file) as store:

        def look(key: str, item: Any) -> None:
            if _text(item.attrs.get("pandas_type")) in {"frame", "frame_table"}:
                found.append(StoredFrame(file, key))

        # Links that lead elsewhere are not followed by this.
        store.visititems(look)
    return sorted(found, key=lambda frame: frame.key)


def _read_table(group: Any, place: str) -> Iterator[pl.DataFrame]:
    """A compound array: `index`, and a field for each column or `values_block_0` for several of one type."""
    table = _member(group, "table", place)
    _refuse_strange(table, place)
    fields = table.dtype.fields or {}
    if "index" not in fields:
        raise _damaged(place, "its table has no index")
    texts = _texts(group.attrs.get("info"))
    zone = _zone(texts[texts.index("tz") + 1 :]) if "tz" in texts else None
    for start in range(0, table.shape[0], CHUNK_ROWS):
        rows = read_rows(table, start, start + CHUNK_ROWS, place)
        columns: dict[str, pl.Series] = {}
        for name in fields:
            kind = _text(table.attrs.get("index_kind" if name == "index" else f"{name}_dtype"))
            values = rows[name]
            names = [name] if name == "index" else _texts(table.attrs.get(f"{name}_kind")) or [name]
            blocks = values.reshape(len(values), -1)
            if blocks.shape[1] != len(names):
                raise _damaged(place, f"{name} has {blocks.shape[1]} columns and {len(names)} names")
            for number, own in enumerate(names):
                columns[own] = _series(own, blocks[:, number], kind, zone)
        yield _without_counting_index(columns)


def _read_fixed(group: Any, place: str) -> Iterator[pl.DataFrame]:
    """`axis1` is the index, and `block0_items` names the columns of `block0_values`."""
    index = _member(group, "axis1", place)
    _refuse_strange(index, place)
    blocks = []
    for number in range(int(group.attrs.get("nblocks", 0))):
        items, values = (_member(group, f"block{number}_{part}", place) for part in ("items", "values"))
        for dataset in (items, values):
            _refuse_strange(dataset, place)
        blocks.append(
            ([item.decode("utf-8", "replace") for item in read_rows(items, 0, items.shape[0], place)], values)
        )
    for start in range(0, index.shape[0], CHUNK_ROWS):
        stop = start + CHUNK_ROWS
        kind = _text(index.attrs.get("kind"))
        columns = {"index": _series("index", read_rows(index, start, stop, place), kind, _zone_of(index))}
        for names, values in blocks:
            if values.ndim != 2 or values.shape != (index.shape[0], len(names)):
                raise _damaged(place, f"columns {', '.join(names)[:80]} have the shape {values.shape}")
            rows = read_rows(values, start, stop, place)
            for number, name in enumerate(names):
                value_kind = _text(values.attrs.get("value_type"))
                columns[name] = _series(name, rows[:, number], value_kind, _zone_of(values))
        yield _without_counting_index(columns)


def _without_counting_index(columns: dict[str, pl.Series]) -> pl.DataFrame:
    """Rows whose times are a column have an index that only counts."""
    if not isinstance(columns["index"].dtype, pl.Datetime):
        del columns["index"]
    return pl.DataFrame(columns)


def _zone_of(dataset: Any) -> str | None:
    """The zone of its times; None where they have none."""
    return _zone([_text(dataset.attrs["tz"])]) if "tz" in dataset.attrs else None


def _zone(texts: list[str]) -> str:
    """The first of the texts that names a zone; UTC, in which all times are kept, where it is an offset and has no name."""
    for text in texts:
        # dateutil's are the path of a file.
        name = text.rpartition("zoneinfo/")[2]
        try:
            return ZoneInfo(name).key
        except (ValueError, OSError, ZoneInfoNotFoundError):
            continue
    return "UTC"


def _series(name: str, values: Any, kind: str, zone: str | None) -> pl.Series:
    if kind in _UNITS and values.dtype.kind == "i":
        scaled = values.astype(np.int64) * (1000 if kind == "datetime64[s]" else 1)
        stamps = pl.Series(name, scaled).cast(pl.Datetime(_UNITS[kind]))  # type: ignore[arg-type]
        return stamps if zone is None else stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    if values.dtype.kind == "S":
        return pl.Series(name, [text.decode("utf-8", "replace") for text in values.tolist()], dtype=pl.String)
    return pl.Series(name, np.ascontiguousarray(values))


def _refuse_strange(dataset: Any, place: str) -> None:
    """Data that lies in other files, or is no array of numbers and short texts."""
    if getattr(dataset, "external", None) or getattr(dataset, "is_virtual", False):
        raise _damaged(place, "its data lies in other files")
    if dataset.dtype.hasobject or dataset.dtype.itemsize > _WIDEST_ROW or not dataset.shape:
        raise _damaged(place, f"{dataset.name} holds {str(dataset.dtype)[:80]}, which no bars are made of")


def _member(group: Any, key: str, place: object) -> Any:
    """What lies under a key of this file; links are not followed."""
    import h5py

    for part in key.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise _damaged(place, f"{key} is not there, or a link")
        group = group[part]
    return group


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    """The file; whatever the library says of it is said with its name."""
    import h5py

    try:
        with h5py.File(file, "r") as store:
            yield store
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(file, str(error).split("\n", 1)[0]) from None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _texts(pickled: Any) -> list[str]:
    """The texts in a pickle, in their order; nothing is unpickled."""
    if not isinstance(pickled, bytes):
        return []
    try:
        return [str(value) for code, value, _ in pickletools.genops(pickled) if code.name in _TEXTS]
    except (ValueError, IndexError, UnicodeDecodeError):
        return []


def _damaged(place: object, why: str) -> FormatRefused:
    return FormatRefused(f"{place}: {why}", fix="write it again with DataFrame.to_hdf")
