"""Series of a lake in another tool's files: read in parts, compared value by value, and in their folder all at once.

What a format holds is said by its writer (`formats.writing`); nothing here knows one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.errors import ConfigError, ExportRefused, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline.formats.export_report import ExportedSeries, ExportReport
from gb_pipeline.formats.registry import get_format
from gb_pipeline.formats.writing.base import AS_STORED, NUMBERS, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import EXAMPLES, ChangedValue, find_changes
from gb_pipeline.formats.writing.staging import StagedFolder, refuse_full, staged
from gb_pipeline.lake import ledger
from gb_pipeline.market.calendar import Calendar, calendar_of_version, get_calendar
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SPLIT, Precision, bar_table
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import Moment, between, moment
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.price_adjustment import parse_adjustment

# A series by source, symbol and resolution.
Series = tuple[str, str, Resolution]
# What is read at once: some hundred thousand bars at most.
_SECONDS, _MINUTES, _HOURS = "1d", "1mo", "4y"


def export_bars(
    lake: Lake,
    format_name: str,
    series: Sequence[Series],
    target: Path | str,
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    as_of: Moment | None = None,
    adjustment: str | None = None,
    market: str | None = None,
    asset_classes: Mapping[str, AssetClass] | None = None,
    lossy: bool = False,
    force: bool = False,
    dry_run: bool = False,
    on_series: Callable[[], None] = lambda: None,
) -> ExportReport:
    """Write bars as another tool keeps them.

    All series are read as they were known at one moment, twice: to compare every value with what the files would give back, and
    to write. The folder is there when all of it is.

    Args:
        lake: to read from.
        format_name: such as `lean`; `formats.registry.writable` lists them.
        series: source, symbol and resolution of each.
        target: a folder that is empty, or not there.
        start, end: half-open range of bar opens.
        as_of: what was known at this moment; by default at the newest commit.
        adjustment: of prices: `none`, `splits`, `splits+dividends`, `stored`; by default what the format's users expect.
        market: LEAN's market, Nautilus' venue.
        asset_classes: of the instruments, by source.
        lossy: write although values change or bars are left out.
        force: the folder may hold other files; those of the same names are replaced.
        dry_run: do all of it among temporary files, and leave nothing.
        on_series: called after each series that was written.

    Returns:
        The report.

    Raises:
        ExportRefused: values would change or bars be left out, and `lossy` does not say that they may; nothing was written.
        ConfigError: the format has no name for a series, or the folder is in the way.
        NoDataInRange: there is no bar to write.
        ReadError: prices cannot be adjusted so.

    Example:
        >>> export_bars(lake, "qlib", [("yahoo", "AAPL", Resolution.DAY)], "qlib-data").files
        8
    """
    folder = Path(target)
    writer: FormatWriter = get_format(format_name).open_writer()(market=market)
    refuse_full(folder, force=force, alone=writer.alone)
    moment_read = moment(as_of, lake.store.clock) or _newest_commit(lake, series)
    window = between(start, end, lake.store.clock)
    if adjustment not in {None, AS_STORED}:
        parse_adjustment(adjustment)
    chosen = [
        _describe(lake, writer, item, moment_read, adjustment, asset_classes or {})
        for item in _stored(lake, series, window, moment_read)
    ]
    _refuse_same_place(writer, chosen)
    inspected = tuple(_inspect(lake, writer, item, moment_read) for item in chosen)
    report = ExportReport(format_name, str(folder), dry_run, inspected, 0, 0, moment_read)
    if not report.is_exact and not (lossy or dry_run):
        raise _refusal(report)
    with staged(folder, force=force, alone=writer.alone, dry_run=dry_run) as output:
        for item in chosen:
            for bars in _read(lake, writer, item, moment_read):
                kept = writer.convert(item, bars).bars
                if kept.height:
                    writer.write(item, kept, output)
            writer.end(item, output)
            on_series()
        writer.finish(output)
        return _with_files(report, output)


def _newest_commit(lake: Lake, series: Sequence[Series]) -> datetime:
    """The moment of the newest rows of the tables, which may be ahead of this machine's clock."""
    tables = {bar_table(kind, precision) for *_, kind in series for precision in Precision}
    clocks = [lake.store.tables.newest(name).clock for name in tables]
    return max([lake.store.clock(), *(from_microseconds(clock) for clock in clocks)])


def _stored(
    lake: Lake, series: Sequence[Series], window: Window, as_of: datetime
) -> list[tuple[Series, datetime, datetime]]:
    """The first and last bar of each series in the range; those without a bar are left out.

    Raises:
        UnknownSeries: one of them is not stored.
        NoDataInRange: none of them has a bar.
    """
    rows = {
        (row["source"], row["symbol"], Resolution(row["resolution"])): row
        for row in lake.symbols(as_of=as_of).to_dicts()
    }
    found = []
    for item in series:
        row = rows.get(item)
        if row is None:
            raise UnknownSeries(f"{item[0]}:{item[1]} {item[2]} is not stored", fix="`gb status` lists what there is")
        if not row["record_count"]:
            continue
        first, last = row["start"], row["end"]
        first, last = max(first, window.start), min(last, window.end - timedelta(microseconds=1))
        if first <= last:
            found.append((item, first, last))
    if not found:
        raise NoDataInRange("no series has a bar in the range", fix="`gb status` says which range there is")
    return found


def _describe(
    lake: Lake,
    writer: FormatWriter,
    stored: tuple[Series, datetime, datetime],
    as_of: datetime,
    adjustment: str | None,
    asset_classes: Mapping[str, AssetClass],
) -> Exported:
    (source, symbol, resolution), first, last = stored
    calendar = _calendar_of(lake, stored[0], last)
    try:
        actions = lake.corporate_actions(symbol, source=source, as_of=as_of)
    except UnknownSeries:
        actions = None
    series = Exported(source, symbol, resolution, first, last, calendar, asset_classes.get(source), actions)
    series = replace(series, adjustment=adjustment or writer.adjustment_of(series))
    writer.resolution_name(series)
    if series.adjustment == AS_STORED and actions is not None and (actions["kind"] == SPLIT).any():
        # A part may be of one side of a split only; what is mixed is seen in the whole.
        lake.bars(
            [symbol],
            resolution,
            first,
            last + timedelta(microseconds=1),
            source=source,
            columns=["timestamp"],
            as_of=as_of,
        )
    return series


def _calendar_of(lake: Lake, series: Series, last: datetime) -> Calendar:
    """The one that gb.yaml names; else the one that the newest session was recorded by."""
    source, symbol, resolution = series
    facts = next((item for item in lake.source_facts if item.name == source), None)
    if facts is not None:
        return facts.trading_calendar
    newest = last.date() - timedelta(days=7), last.date() + timedelta(days=2)
    recorded = ledger.current(lake.store.tables, source, resolution, [symbol], newest)["calendar"].drop_nulls()
    return calendar_of_version(recorded[-1]) if len(recorded) else get_calendar("24/7")


def _refuse_same_place(writer: FormatWriter, chosen: Sequence[Exported]) -> None:
    places: dict[str, Exported] = {}
    for series in chosen:
        other = places.setdefault(writer.place_of(series), series)
        if other is not series:
            raise ConfigError(
                f"{other.name} and {series.name} would both be {writer.place_of(series)}",
                fix="export them into two folders",
            )


def _inspect(lake: Lake, writer: FormatWriter, series: Exported, as_of: datetime) -> ExportedSeries:
    rows, changed = 0, 0
    examples: list[ChangedValue] = []
    left_out: dict[str, int] = {}
    first: datetime | None = None
    last: datetime | None = None
    for bars in _read(lake, writer, series, as_of):
        converted = writer.convert(series, bars)
        for reason, stamps in converted.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + len(stamps)
        if not converted.bars.height:
            continue
        count, found = find_changes(converted)
        changed, examples = changed + count, [*examples, *found][:EXAMPLES]
        rows += converted.bars.height
        first = first or converted.bars["timestamp"][0]
        last = converted.bars["timestamp"][-1]
        writer.inspect(series, converted.bars)
    notes = tuple(writer.notes(series))
    return ExportedSeries(
        series.name, rows, first, last, 0, 0, series.adjustment, changed, tuple(examples), left_out, notes
    )


def _read(lake: Lake, writer: FormatWriter, series: Exported, as_of: datetime) -> Iterator[pl.DataFrame]:
    """The bars of a series, part by part."""
    adjustment = None if series.adjustment == AS_STORED else series.adjustment
    columns = ["timestamp", *NUMBERS]
    for start, end in _parts(series):
        try:
            bars = lake.bars(
                [series.symbol], series.resolution, start, end, source=series.source, columns=columns, as_of=as_of,
                adjustment=adjustment,
            )  # fmt: skip
        except NoDataInRange:
            continue
        except ReadError as error:
            if adjustment in {None, "none"}:
                raise
            raise ReadError(error.what, fix=f"{error.fix}; or write prices as traded: --adjustment none") from None
        if writer.needs_raw:
            raw = bars["close"]
            if adjustment not in {None, "none"}:
                raw = lake.bars(
                    [series.symbol], series.resolution, start, end, source=series.source, columns=["close"], as_of=as_of,
                    adjustment="none",
                )["close"]  # fmt: skip
            bars = bars.with_columns(raw.alias("raw_close"))
        yield bars


def _parts(series: Exported) -> list[tuple[datetime, datetime]]:
    """Half-open ranges that are read at once."""
    end = series.end + timedelta(microseconds=1)
    length = series.resolution.duration
    if length is None:
        return [(series.start, end)]
    every = _SECONDS if length < timedelta(minutes=1) else _MINUTES if length < timedelta(hours=1) else _HOURS
    begin = datetime.combine(date(series.start.year, series.start.month, 1), datetime.min.time(), UTC)
    edges = pl.datetime_range(begin, end, every, time_zone="UTC", eager=True).to_list()
    starts = [series.start, *(edge for edge in edges if series.start < edge < end)]
    return list(zip(starts, [*starts[1:], end], strict=True))


def _refusal(report: ExportReport) -> ExportRefused:
    changed = [item for item in report.series if item.changed]
    values = sum(item.changed for item in changed)
    lost = {reason: count for item in report.series for reason, count in item.left_out.items()}
    left_out = sum(sum(item.left_out.values()) for item in report.series)
    parts = []
    if values:
        noun = "value" if values == 1 else "values"
        parts.append(f"{values:,} {noun} of {len(changed):,} series would change, such as {changed[0].examples[0]}")
    if left_out:
        noun = "bar" if left_out == 1 else "bars"
        parts.append(f"{left_out:,} {noun} would be left out ({', '.join(lost)})")
    return ExportRefused(
        f"{report.format} cannot hold all of it exactly: {', and '.join(parts)}",
        report=report,
        fix="look at it with --dry-run, and say --lossy to write it all the same",
    )


def _with_files(report: ExportReport, output: StagedFolder) -> ExportReport:
    sizes = output.sizes()
    by_series: dict[str, list[int]] = {}
    for name, series in output.series.items():
        for one in series:
            by_series.setdefault(one, []).append(sizes[name])
    items = [
        replace(item, files=len(by_series.get(item.series, ())), bytes=sum(by_series.get(item.series, ())))
        for item in report.series
    ]
    return replace(
        report,
        series=tuple(items),
        files=len(sizes),
        bytes=sum(sizes.values()),
        removed=tuple(map(str, output.removed)),
    )
