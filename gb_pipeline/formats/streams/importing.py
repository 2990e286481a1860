"""This module brings another tool's trades, quotes and books into a lake: `import_streams`, which `gb import` calls.

What the files hold is read by the format's own module. An import that was killed is run again: what is stored already is found
unchanged. A file proves what it holds, not that nothing is missing: stretches are said to be covered only where the numbers of
the file itself prove it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import ConfigError, FormatRefused, LakeError
from gb_pipeline.formats.import_identity import STREAMS, begun_record, id_of_files, refuse_other_streams
from gb_pipeline.formats.registry import Format, get_format, require_path
from gb_pipeline.formats.streams.archive import StreamArchive, StreamChunk, StreamOptions
from gb_pipeline.formats.streams.report import StreamImportReport
from gb_pipeline.formats.streams.storing import Storing
from gb_pipeline.lake import fetches
from gb_pipeline.lake.datasets import STREAM_INTERVALS, WATERMARKS
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT, microseconds
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.spelling import list_some
from gb_pipeline.market.symbol import AssetClass, source_name
from gb_pipeline.market.tick_schema import FILE_COLLECTOR
from gb_pipeline.market.window import instant
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.locks import locked

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_VERSION = 1
# Snapshots are read with the updates that they begin, and share their watermark.
_DATASET_OF = {"trades": "trades", "quotes": "quotes", "book_updates": "book_updates", "book_snapshots": "book_updates"}
# Prices that may be zero or less: spreads, and futures in bad times.
_SIGNED = {AssetClass.FUTURE, AssetClass.OPTION}


def import_streams(
    lake: Lake | LakeStore,
    format_name: str,
    path: Path | str,
    *,
    source: str,
    symbols: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    asset_class: AssetClass | str | None = None,
    timezone: str | None = None,
    dry_run: bool = False,
    on_rows: Callable[[int], object] | None = None,
) -> StreamImportReport:
    """Bring another tool's trades, quotes and order books into a lake, under the name of one source.

    Rows that cannot be stored exactly go to quarantine with their reason and as they were read. Nothing of the files is changed.
    The same import may be run again, after a kill as well: it goes on, and what is stored already is found unchanged.

    Args:
        lake: to write; nothing is written with `dry_run`.
        format_name: such as `tardis`; `formats.registry` has them.
        path: the file or folder.
        source: short name under which everything is stored.
        symbols: only these canonical codes; of a file that names no instrument, the one that it is of.
        names: canonical codes by the files' own spelling, where they cannot be told from it.
        start: only rows of this moment or later, on the time axis `timestamp`.
        end: only rows before it.
        asset_class: the kind of the instruments, where the files do not say it or say it wrong.
        timezone: of times without one, for formats that may have such.
        dry_run: read and check everything, and write nothing.
        on_rows: told how many rows more were dealt with.

    Returns:
        What became of every row. A file that breaks off does not stop the others: `report.errors` says which.

    Raises:
        ConfigError: there is no such format, path or symbol, or its library is not installed.
        FormatRefused: the path is not of this format, or damaged so that nothing of it can be read.
        LakeError: the source has rows that are not of this import, or another import into it is running on this machine.

    Example:
        >>> report = import_streams(lake, "tardis", "datasets/", source="binance_tardis")  # doctest: +SKIP
        >>> report.total.received == report.total.stored + report.total.quarantined  # doctest: +SKIP
        True
    """
    kind, name = get_format(format_name), source_name(source)
    place = require_path(Path(path).expanduser())
    wanted = None if symbols is None else {code.strip().upper() for code in symbols if code.strip()}
    options = StreamOptions(
        asset_class=None if asset_class is None else _asset_class(asset_class),
        names=dict(names or {}),
        symbol=next(iter(wanted)) if wanted is not None and len(wanted) == 1 else None,
        timezone=timezone,
    )
    try:
        archive = kind.open_stream_reader()(place, options)
    except ModuleNotFoundError as error:
        raise kind.not_installed(error) from error
    if not archive.parts:
        why = list_some([f"{item}: {reason}" for item, reason in archive.skipped.items()], 3)
        raise FormatRefused(
            f"{place} has nothing that {kind.name} can be read from{f' ({why})' if why else ''}",
            fix="name the file or folder that has it",
        )
    store = lake if isinstance(lake, LakeStore) else lake.store
    window = (None if start is None else instant(start), None if end is None else instant(end))
    importing = _Import(store, kind, place, name, archive, wanted, window, on_rows or (lambda _: None))
    if dry_run:
        return importing.run(dry_run=True)
    with locked(store.storage.state, f"import-{name}", wait=False) as alone:
        if not alone:
            raise LakeError(
                f"another import into source {name} is running",
                fix="wait for it, and run this again; other files belong into a source of another name",
            )
        return importing.run(dry_run=False)


class _Import:
    """One import that is about to happen."""

    def __init__(
        self,
        store: LakeStore,
        kind: Format,
        path: Path,
        source: str,
        archive: StreamArchive,
        symbols: set[str] | None,
        window: tuple[datetime | None, datetime | None],
        on_rows: Callable[[int], object],
    ) -> None:
        self.store, self.kind, self.path, self.source, self.archive = store, kind, path, source, archive
        self.symbols, self.on_rows = symbols, on_rows
        self.start, self.end = (None if edge is None else microseconds(edge) * 1000 for edge in window)
        self.id = id_of_files(kind.name, archive.files)
        self.seen: set[str] = set()

    def run(self, *, dry_run: bool) -> StreamImportReport:
        """Read everything, and store it unless it is a dry run."""
        asset_class = self.archive.asset_class
        storing = Storing(self.store, self.source, self.id, asset_class in _SIGNED, dry_run)
        opened = begun_record(
            self.id, self.source, len(self.archive.parts), self.archive.notes, f"{self.kind.name}/{_VERSION}",
            self.store.clock(), kind=STREAMS,
        )  # fmt: skip
        if dry_run:
            self._refuse_others()
        else:
            # What a continued import is recognised by.
            fetches.record(self.store.tables, [opened], clock=self.store.clock, check=self._refuse_others)
            reach("import_begun")
        errors: dict[str, str] = {}
        for part in self.archive.parts:
            try:
                for chunk in part.read():
                    self.seen |= set(chunk.rows["symbol"].unique())
                    chosen = self._choose(chunk)
                    storing.take(chosen, part.place)
                    self.on_rows(chosen.rows.height)
            except FormatRefused as error:
                errors[part.place] = str(error)
        if self.symbols is not None and (unknown := sorted(self.symbols - self.seen)) and not errors:
            raise ConfigError(
                f"{self.path} has no {list_some(unknown)}",
                fix=f"there is {list_some(sorted(self.seen)) or 'nothing'}",
            )
        # Numbers behind a damage are not known; those before it prove what they did.
        intervals = self._intervals()
        if not dry_run:
            self._write_intervals(intervals)
            reach("import_intervals")
            self._write_watermarks(storing)
            self.store.record_fetches([opened.with_counts(RowCounts(received=opened.received, stored=opened.received))])
        kinds = dict(intervals.group_by("kind", maintain_order=True).len().iter_rows())
        return StreamImportReport(
            format=self.kind.name,
            path=str(self.path),
            source=self.source,
            dry_run=dry_run,
            import_id=self.id,
            asset_class=asset_class.value,
            streams=tuple(storing.streams[key] for key in sorted(storing.streams)),
            intervals=kinds,
            missing=int(intervals["missing"].sum()),
            errors=errors,
            notes=self.archive.notes,
            skipped=self.archive.skipped,
        )

    def _choose(self, chunk: StreamChunk) -> StreamChunk:
        """The rows that were asked for."""
        keep = pl.lit(True)
        if self.symbols is not None:
            keep = pl.col("symbol").is_in(list(self.symbols))
        moment = pl.coalesce("exchange_time", "receive_time")
        if self.start is not None:
            keep &= moment.fill_null(self.start) >= self.start
        if self.end is not None:
            keep &= moment.fill_null(self.end - 1) < self.end
        return replace(chunk, rows=chunk.rows.filter(keep))

    def _refuse_others(self) -> None:
        refuse_other_streams(self.store, self.source, self.id)

    def _intervals(self) -> pl.DataFrame:
        """What the files prove of what was asked for."""
        found = self.archive.intervals()
        if self.symbols is not None:
            found = found.filter(pl.col("symbol").is_in(list(self.symbols)))
        if self.start is not None:
            found = found.with_columns(pl.max_horizontal("start_time", pl.lit(self.start, pl.Int64())))
        if self.end is not None:
            found = found.with_columns(pl.min_horizontal("end_time", pl.lit(self.end, pl.Int64())))
        return found.filter(pl.col("start_time") < pl.col("end_time"))

    def _write_intervals(self, found: pl.DataFrame) -> None:
        """Append those that are not there yet."""
        table = self.store.tables[STREAM_INTERVALS.name]
        names = list(polars_schema(STREAM_INTERVALS.columns))
        rows = found.with_columns(
            pl.lit(self.source).alias("source"),
            (pl.col("start_time") // 1000).cast(INSTANT).alias("timestamp"),
            pl.lit(FILE_COLLECTOR).alias("collector"),
        ).select(names)
        stored = reading.read(
            self.store.storage, STREAM_INTERVALS, table.newest().select({"source": self.source}), names
        )
        append(table, rows.join(stored, on=names, how="anti", nulls_equal=True), clock=self.store.clock)

    def _write_watermarks(self, storing: Storing) -> None:
        """Up to where everything of the files is stored: readers stop there."""
        table = self.store.tables[WATERMARKS.name]
        ends = [stream.last_time for stream in storing.streams.values() if stream.last_time is not None]
        if not ends:
            return
        # The next whole microsecond: no file has anything behind the last row of all, so all of its datasets are settled there.
        through = (max(ends) // 1000 + 1) * 1000
        last: dict[str, int] = {}
        for stream in storing.streams.values():
            if stream.last_time is not None:
                dataset = _DATASET_OF[stream.table]
                last[dataset] = last.get(dataset, 0) + stream.counts.stored + stream.counts.unchanged
        names = list(polars_schema(WATERMARKS.columns))
        stored_marks = reading.read(
            self.store.storage, WATERMARKS, table.newest().select({"source": self.source}), names
        ).filter(pl.col("collector") == FILE_COLLECTOR)
        rows = []
        for dataset, count in last.items():
            own = stored_marks.filter(pl.col("dataset") == dataset)
            before = own["through_time"].max() if own.height else None
            if isinstance(before, int) and before >= through:
                continue
            rows.append(
                {
                    "source": self.source, "dataset": dataset, "collector": FILE_COLLECTOR, "timestamp": through // 1000,
                    "through_time": through, "segment": own.height, "rows": count,
                }
            )  # fmt: skip
        if rows:
            frame = pl.DataFrame(rows, schema=polars_schema(WATERMARKS.columns) | {"timestamp": pl.Int64()})
            append(table, frame.with_columns(pl.col("timestamp").cast(INSTANT)), clock=self.store.clock)


def _asset_class(text: AssetClass | str) -> AssetClass:
    if text not in list(AssetClass):
        raise ConfigError(f"{text!r:.40} is not an asset class", fix=f"use one of {', '.join(AssetClass)}")
    return AssetClass(text)
