"""Trades, quotes and books of a lake in another tool's files: read day by day, compared, and in their folder all at once.

What a format holds is said by its writer; nothing here knows one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.errors import ConfigError, ExportRefused
from gb_pipeline.formats.registry import get_format
from gb_pipeline.formats.streams.days import Stream, describe, read_day
from gb_pipeline.formats.streams.writer import Account, Day, StreamWriter
from gb_pipeline.formats.writing.staging import StagedFolder, refuse_full, staged
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import instant

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake


@dataclass(frozen=True, slots=True)
class ExportedStream:
    """What became of one stream.

    Attributes:
        stream: `source:symbol`.
        collector: whose rows they are.
        rows: of each table that were read.
        events: in the files.
        start, end: half-open range that was read.
        files, bytes: those that it stands in.
        changed: numbers that the files give back otherwise than they are stored.
        examples: the first of them, in words.
        left_out: rows that the format cannot hold, by the reason.
        notes: what the files do not say, a sentence each.
    """

    stream: str
    collector: str
    rows: Mapping[str, int]
    events: int
    start: datetime
    end: datetime
    files: int
    bytes: int
    changed: int
    examples: tuple[str, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamExportReport:
    """What an export wrote, or a dry run would write.

    Attributes:
        format: its name.
        target: the folder.
        dry_run: whether nothing is there now.
        streams: one by one.
        files, bytes: all of them.
    """

    format: str
    target: str
    dry_run: bool
    streams: tuple[ExportedStream, ...]
    files: int
    bytes: int

    @property
    def is_exact(self) -> bool:
        """Whether the files hold every row, and every number as it is."""
        return not any(item.changed or item.left_out for item in self.streams)


def export_streams(
    lake: Lake | LakeStore,
    format_name: str,
    streams: Sequence[tuple[str, str]],
    target: Path | str,
    *,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    collector: str | None = None,
    market: str | None = None,
    lossy: bool = False,
    force: bool = False,
    dry_run: bool = False,
    on_day: Callable[[], None] = lambda: None,
) -> StreamExportReport:
    """Write trades, quotes and books as another tool keeps them.

    Streams are read twice, a day at a time: to compare every number with what the files would give back, and to write. Only what
    is settled is read: everything before a collector's watermark. The folder is there when all of it is.

    Args:
        lake: to read from.
        format_name: `streams-csv`, `streams-parquet`, `streams-arrow`, `hftbacktest` or `nautilus-ticks`.
        streams: source and symbol of each.
        target: a folder that is empty, or not there.
        start, end: half-open range on the time axis `timestamp`.
        collector: whose rows are written, where several heard a stream; of imported ones `file`.
        market: Nautilus' venue.
        lossy: write although numbers change or rows are left out.
        force: the folder may hold other files; those of the same names are replaced.
        dry_run: do all of it among temporary files, and leave nothing.
        on_day: called after each day that was written.

    Returns:
        The report.

    Raises:
        ExportRefused: numbers would change or rows be left out, and `lossy` does not say that they may; nothing was written.
        ConfigError: several collectors heard a stream, or the folder is in the way.
        UnknownSeries: nothing of a stream is stored.
        NoDataInRange: nothing of it is settled and in the range.

    Example:
        >>> export_streams(lake, "hftbacktest", [("binance", "BTC-USDT-PERP")], "npz").streams[0].events  # doctest: +SKIP
        1204931
    """
    store = lake if isinstance(lake, LakeStore) else lake.store
    folder = Path(target)
    writer: StreamWriter = get_format(format_name).open_stream_writer()(market=market)
    refuse_full(folder, force=force, alone=writer.alone)
    edges = tuple(None if edge is None else instant(edge) for edge in (start, end))
    chosen = [
        describe(store, source, symbol, writer.tables, start=edges[0], end=edges[1], collector=collector)
        for source, symbol in dict.fromkeys(streams)
    ]
    _refuse_same_place(writer, chosen)
    accounts = {stream.name: Account() for stream in chosen}
    rows: dict[str, dict[str, int]] = {stream.name: dict.fromkeys(writer.tables, 0) for stream in chosen}
    for stream in chosen:
        for day in _days(store, writer, stream):
            writer.inspect(stream, day, accounts[stream.name])
            for table, frame in day.rows.items():
                rows[stream.name][table] += frame.height
    if not (lossy or dry_run) and any(item.changed or item.left_out for item in accounts.values()):
        report = _report(format_name, folder, chosen, accounts, rows, None, dry_run=False)
        raise _refusal(report)
    with staged(folder, force=force, alone=writer.alone, dry_run=dry_run) as output:
        for stream in chosen:
            for day in _days(store, writer, stream):
                writer.write(stream, day, output)
                on_day()
            writer.end(stream, output)
        return _report(format_name, folder, chosen, accounts, rows, output, dry_run=dry_run)


def _days(store: LakeStore, writer: StreamWriter, stream: Stream) -> Iterator[Day]:
    for first, last in stream.days:
        day = Day(first, {table: read_day(store, stream, table, first, last) for table in writer.tables})
        if day.height:
            yield day


def _refuse_same_place(writer: StreamWriter, chosen: Sequence[Stream]) -> None:
    places: dict[str, Stream] = {}
    for stream in chosen:
        other = places.setdefault(writer.place_of(stream), stream)
        if other is not stream:
            raise ConfigError(
                f"{other.name} and {stream.name} would both be {writer.place_of(stream)}",
                fix="export them into two folders",
            )


def _refusal(report: StreamExportReport) -> ExportRefused:
    changed = [item for item in report.streams if item.changed]
    parts = []
    if changed:
        count = sum(item.changed for item in changed)
        noun = "number" if count == 1 else "numbers"
        parts.append(f"{count:,} {noun} would change, such as {changed[0].examples[0]}")
    lost = {reason: count for item in report.streams for reason, count in item.left_out.items()}
    if lost:
        count = sum(lost.values())
        parts.append(f"{count:,} {'row' if count == 1 else 'rows'} would be left out ({', '.join(lost)})")
    return ExportRefused(
        f"{report.format} cannot hold all of it exactly: {', and '.join(parts)}",
        report=report,
        fix="look at it with --dry-run, and say --lossy to write it all the same",
    )


def _report(
    format_name: str,
    folder: Path,
    chosen: Sequence[Stream],
    accounts: Mapping[str, Account],
    rows: Mapping[str, Mapping[str, int]],
    output: StagedFolder | None,
    *,
    dry_run: bool,
) -> StreamExportReport:
    sizes = {} if output is None else output.sizes()
    by_stream: dict[str, list[int]] = {}
    for name, streams in ({} if output is None else output.series).items():
        for one in streams:
            by_stream.setdefault(one, []).append(sizes[name])
    items = []
    for stream in chosen:
        account = accounts[stream.name]
        own = by_stream.get(stream.name, [])
        items.append(
            ExportedStream(
                stream.name, stream.collector, dict(rows[stream.name]), account.events, stream.start, stream.end, len(own),
                sum(own), account.changed, tuple(account.examples), dict(account.left_out), tuple(account.notes),
            )
        )  # fmt: skip
    return StreamExportReport(format_name, str(folder), dry_run, tuple(items), len(sizes), sum(sizes.values()))
