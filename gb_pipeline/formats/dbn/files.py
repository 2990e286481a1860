"""Files of DBN as series of bars.

A file has the records of all instruments one after another in time. They are sorted by instrument once, into a temporary file that
lives as long as the import, so that each series is read without the others.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from gb_pipeline.errors import FormatRefused, InvalidSymbol
from gb_pipeline.formats.archive import CHUNK_ROWS, Archive, ArchiveSeries, ReadOptions
from gb_pipeline.formats.dbn.records import (
    PRICE_DECIMALS,
    RECORD,
    SCHEMAS,
    UNDEFINED_PRICE,
    UNDEFINED_TIME,
    read_header,
    read_records,
)
from gb_pipeline.formats.dbn.symbols import Interval, asset_class_of, calendar_of, canonical, read_intervals
from gb_pipeline.formats.numbers import divide_exactly
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass, Symbol

_SUFFIXES = (".dbn", ".dbn.zst")


@dataclass(frozen=True, slots=True)
class _File:
    """A file of bars: what its numbers mean, and which of its symbols a lake can hold."""

    path: Path
    resolution: Resolution
    start: int
    series: tuple[tuple[Interval, Symbol], ...]


def open_files(path: Path, options: ReadOptions) -> Archive:
    """The bars of a file, or of all files of a folder; see `archive.Reader`."""
    found = (
        [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.name.endswith(_SUFFIXES) and f.is_file())
    )
    skipped: dict[str, str] = {}
    datasets: dict[str, list[_File]] = {}
    for file in found:
        header = read_header(file)
        resolution = SCHEMAS.get(str(header.schema))
        if resolution is None or header.ts_out:
            skipped[file.name] = _why_not(str(header.schema)) if resolution is None else "its records have ts_out"
            continue
        kind = options.asset_class or asset_class_of(header.dataset)
        series = []
        for interval in read_intervals(header):
            try:
                series.append((interval, canonical(interval, kind)))
            except InvalidSymbol as error:
                skipped[f"{file.name} {interval.symbol}"] = error.what
        datasets.setdefault(header.dataset, []).append(_File(file, resolution, header.start, tuple(series)))
    if len(datasets) > 1:
        raise FormatRefused(
            f"{path} has files of {list_some(sorted(datasets))}", fix="import them one by one, under a source each"
        )
    dataset, files = next(iter(datasets.items()), ("", []))
    kind = options.asset_class or asset_class_of(dataset)
    notes = ["Bars of a day are days of UTC at Databento, not sessions of the exchange."]
    if kind is AssetClass.EQUITY:
        notes.append("Bars of the pre- and post-market are among them.")
    return Archive(
        series=tuple(_series(files)),
        files=tuple(file.path for file in files),
        asset_class=kind,
        calendar=calendar_of(dataset) if dataset else "24/7",
        extended_hours=kind is AssetClass.EQUITY,
        notes=tuple(notes) if files else (),
        skipped=skipped,
    )


def _why_not(schema: str) -> str:
    hint = "; `gb import dbn-ticks` reads it" if schema in {"trades", "tbbo", "mbp-1", "mbp-10"} else ""
    return f"it holds {schema}, no bars{hint}"


def _series(files: list[_File]) -> Iterator[ArchiveSeries]:
    for resolution in SCHEMAS.values():
        own = sorted(
            (file for file in files if file.resolution is resolution), key=lambda file: (file.start, file.path)
        )
        sorter = _Sorted(own)
        for symbol in sorted({symbol for file in own for _, symbol in file.series}):
            origin = f"{list_some([file.path.name for file in own], 1)} {symbol.code}"
            yield ArchiveSeries(symbol, resolution, origin, partial(sorter.read, symbol.code))


@dataclass
class _Sorted:
    """Records of some files by symbol, in the order of time."""

    files: list[_File]
    error: FormatRefused | None = field(default=None, init=False)

    @cached_property
    def _spool(self) -> tuple[IO[bytes], dict[str, list[tuple[int, int]]]]:
        """The temporary file, and where in it the pieces of each symbol lie: offset and number of records."""
        spool = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, spool.close)
        pieces: dict[str, list[tuple[int, int]]] = {}
        try:
            for file in self.files:
                by_number: dict[int, list[tuple[Interval, Symbol]]] = {}
                for interval, symbol in file.series:
                    by_number.setdefault(interval.instrument, []).append((interval, symbol))
                for records in read_records(file.path):
                    _sort(records, by_number, spool, pieces)
        except FormatRefused as error:
            # What lies before is whole; whoever reads is told at the end of it.
            self.error = error
        return spool, pieces

    def read(self, code: str) -> Iterator[pl.DataFrame]:
        """The bars of one symbol."""
        spool, pieces = self._spool
        waiting: list[Any] = []
        for offset, count in pieces.get(code, ()):
            spool.seek(offset)
            waiting.append(np.frombuffer(spool.read(count * RECORD.itemsize), dtype=RECORD))
            if sum(map(len, waiting)) >= CHUNK_ROWS:
                yield _frame(np.concatenate(waiting))
                waiting = []
        if waiting:
            yield _frame(np.concatenate(waiting))
        if self.error is not None:
            raise self.error


def _sort(
    records: Any,
    by_number: dict[int, list[tuple[Interval, Symbol]]],
    spool: IO[bytes],
    pieces: dict[str, list[tuple[int, int]]],
) -> None:
    """Append records to the file, those of each symbol together; numbers without a symbol are left out."""
    ordered = records[np.argsort(records["instrument_id"], kind="stable")]
    numbers, starts = np.unique(ordered["instrument_id"], return_index=True)
    for number, part in zip(numbers.tolist(), np.split(ordered, starts[1:]), strict=True):
        for interval, symbol in by_number.get(number, ()):
            first, end = interval.nanoseconds
            own = part[(part["ts_event"] >= first) & (part["ts_event"] < end)]
            if len(own):
                pieces.setdefault(symbol.code, []).append((spool.tell(), len(own)))
                spool.write(own.tobytes())


def _frame(records: Any) -> pl.DataFrame:
    stamps = records["ts_event"]
    microseconds = pl.Series((stamps // 1000).astype(np.int64), dtype=pl.Int64)
    there = pl.Series((stamps != UNDEFINED_TIME) & (stamps % 1000 == 0))
    return pl.DataFrame(
        {
            "timestamp": microseconds.set(~there, None).cast(pl.Datetime("us", "UTC")),
            **{name: divide_exactly(records[name], PRICE_DECIMALS, missing=UNDEFINED_PRICE) for name in PRICES},
            "volume": divide_exactly(records["volume"], 0),
        }
    )
