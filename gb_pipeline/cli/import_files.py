"""`gb import` brings another tool's files into the lake. `formats.importing` does it; this module opens the lake and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.import_streams import import_into, refuse_options
from gb_pipeline.cli.options import Config, End, Json, LakeFolder, Start, lake_address_of, parse_moment
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.formats.import_report import ImportedSeries, ImportReport
    from gb_pipeline.lake.store import LakeStore

# Series that a person wants to see at once; --json has all of them.
_MOST_SERIES, _MOST_TROUBLES, _MOST_NAMES = 40, 10, 100
# Who has bars of such instruments, for the line that is copied into gb.yaml.
_VENDORS = {"equity": "yahoo", "crypto": "ccxt"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    format_name: Annotated[
        str | None,
        typer.Argument(metavar="FORMAT", help="What PATH is; left out, all formats are listed.", show_default=False),
    ] = None,
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="The file or folder.", show_default=False)] = None,
    source: Annotated[
        str | None, typer.Option(help="Name of the source under which it is stored.", show_default=False)
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(help="Of its sessions, such as XNYS, where the files do not say it.", show_default=False),
    ] = None,
    extended_hours: Annotated[
        bool | None,
        typer.Option(
            "--extended-hours/--regular-hours",
            help="Whether bars of the pre- and post-market are expected.",
            show_default=False,
        ),
    ] = None,
    asset_class: Annotated[
        str | None, typer.Option(help="equity, crypto, forex, future, ..., likewise.", show_default=False)
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without a zone, such as America/New_York.", show_default=False)
    ] = None,
    stamp: Annotated[
        str | None, typer.Option(help="open or close: which end of a bar its time is.", show_default=False)
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these, such as AAPL,MSFT.", show_default=False)] = None,
    start: Start = None,
    end: End = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only bars of this length, such as 1m.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="standard: 8 decimals, or wide: 18.", show_default=False)
    ] = None,
    adjustment: Annotated[
        str | None,
        typer.Option(
            help="What was done to the prices, where the files do not say it: raw, split or all.", show_default=False
        ),
    ] = None,
    max_bad_fraction: Annotated[
        float | None,
        typer.Option(help="A larger share of bad rows refuses a whole session; 0.01 by default.", show_default=False),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="Of trades, quotes and books: what the files call an instrument, and its code, such as XBTUSD=BTC-USD.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and validate everything, and store nothing.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Bring another tool's bars, trades and books into the lake.

    Every row is validated as a vendor's is: what is refused goes to quarantine with its reason, and the counts add up. What the
    format cannot tell is said. The source must have no rows but those of this import: run it again after a kill, and it goes on.
    """
    from gb_pipeline.errors import ConfigError
    from gb_pipeline.formats.importing import import_bars
    from gb_pipeline.formats.registry import FORMATS, get_format

    if format_name is None:
        listed = [item for item in FORMATS.values() if item.reader or item.stream_reader]
        if as_json:
            print_json([{"format": item.name, "title": item.title, "extra": item.extra} for item in listed])
        else:
            print_table(("format", "what it is"), [(item.name, item.title) for item in listed])
        return ExitCode.OK
    if path is None or source is None:
        raise ConfigError(
            "what is imported, or under which name, is not said",
            fix=f"such as gb import {format_name} PATH --source bundle",
        )
    store, settings = _open(config, lake)
    if get_format(format_name).stream_reader is not None:
        refuse_options(
            calendar=calendar, extended_hours=extended_hours, stamp=stamp, resolution=resolution, precision=precision,
            adjustment=adjustment, max_bad_fraction=max_bad_fraction,
        )  # fmt: skip
        return import_into(
            store, format_name, path, source, symbols=symbols, names=names, start=parse_moment(start), end=parse_moment(end),
            asset_class=asset_class, timezone=timezone, dry_run=dry_run, as_json=as_json,
        )  # fmt: skip
    if names:
        raise ConfigError("--name is of trades, quotes and books", fix="leave it out")
    given = {"precision": precision, "adjustment": adjustment, "max_bad_fraction": max_bad_fraction}
    rules: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with progress("rows", quiet=as_json) as bar:
        task = bar.add_task("reading" if dry_run else "importing", total=None)
        report = import_bars(
            store,
            format_name,
            path,
            source=source,
            calendar=calendar,
            extended_hours=extended_hours,
            asset_class=asset_class,
            symbols=None if symbols is None else [code for code in symbols.split(",") if code.strip()],
            start=parse_moment(start),
            end=parse_moment(end),
            resolution=resolution,
            timezone=timezone,
            stamp=stamp,
            dry_run=dry_run,
            on_rows=lambda rows: bar.advance(task, rows),
            **rules,
        )
    if not dry_run:
        from gb_pipeline.catalog.projection import refresh_catalog

        refresh_catalog(store, None if settings is None else settings.sources)
    if as_json:
        print_json(_as_data(report))
    else:
        _print(report, settings)
    return ExitCode.OK if report.whole and not any(map(_refused_whole, report.series)) else ExitCode.FAILED


def _open(config: Path | None, folder: Path | None) -> tuple[LakeStore, Settings | None]:
    """The lake, which need not be there yet, and its project where there is one."""
    from gb_pipeline.cli.options import project_of
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.reading.opening import about_lake, refuse_no_lake

    root = lake_address_of(config, folder)
    state, facts, incidents = about_lake(root, config)
    store = LakeStore.at(root, state=state, incidents=incidents)
    if store.storage.exists:
        refuse_no_lake(store.storage)
        store.storage.refuse_other_format()
    return store, project_of(Lake(store, facts=facts), config)


def _refused_whole(series: ImportedSeries) -> bool:
    """Whether it has rows and nothing of it is good: a wrong calendar, zone or unit. What is always there says no such thing."""
    from gb_pipeline.quality.reasons import HARMLESS

    counts = series.counts
    is_empty = counts.received > 0 and counts.stored + counts.unchanged + counts.duplicates == 0
    return is_empty and not series.reasons.keys() <= HARMLESS


def _print(report: ImportReport, settings: Settings | None) -> None:
    shown = report.series[:_MOST_SERIES]
    verb = "would store" if report.dry_run else "stored"
    columns = ("series", "rows", verb, "unchanged", "quarantined", "repeated", "first (UTC)", "last (UTC)")
    total = report.total
    print_table(
        columns,
        [
            (f"{s.symbol} {s.resolution}", *_numbers(s), s.first, s.last)
            for s in shown
        ],
        optional=("repeated", "unchanged") if report.dry_run or not total.unchanged else ("repeated",),
        footer=("total", total.received, total.stored, total.unchanged, total.quarantined, total.duplicates, "", ""),
    )  # fmt: skip
    if len(report.series) > len(shown):
        note(f"{len(report.series) - len(shown):,} more series are in the total; --json lists all")
    _print_troubles(report)
    if report.action_rows and report.actions is None:
        note(f"{format_count(report.action_rows, 'corporate action')} would be stored")
    elif report.actions is not None:
        counts = report.actions
        note(
            f"{format_count(counts.received, 'corporate action')}: {counts.new:,} new, {counts.unchanged:,} unchanged, "
            f"{counts.restated:,} restated, {counts.repeated:,} repeated, {counts.quarantined + counts.late:,} quarantined"
        )
    for line in report.notes:
        note(f"note: {line}")
    if report.dry_run:
        note("nothing was stored")
    elif settings is None or report.source not in settings.sources:
        _print_next(report)


def _numbers(series: ImportedSeries) -> tuple[int, ...]:
    counts = series.counts
    return counts.received, counts.stored, counts.unchanged, counts.quarantined, counts.duplicates


def _print_troubles(report: ImportReport) -> None:
    """What was refused and why, a line each for the first few series; and what was not read."""
    from gb_pipeline.quality.reasons import REFUSED_TOGETHER

    troubled = [series for series in report.series if series.counts.quarantined or series.error]
    for series in troubled[:_MOST_TROUBLES]:
        name = f"{series.symbol} {series.resolution}"
        if series.counts.quarantined:
            reasons = ", ".join(f"{count:,} x {code}" for code, count in series.reasons.most_common())
            first = f"; the first one: {series.worst[0]['row']}" if series.worst else ""
            note(f"{name}: {series.counts.quarantined:,} quarantined: {reasons}{first}")
        if series.error:
            note(f"{name}: not read to its end: {series.error}")
    if len(troubled) > _MOST_TROUBLES:
        note(
            f"{len(troubled) - _MOST_TROUBLES:,} more series have quarantined rows; gb quarantine list {report.source} lists them"
        )
    together = sum(series.reasons[code] for series in troubled for code in REFUSED_TOGETHER)
    if together:
        note(
            f"{format_count(together, 'row')} may be good, and were refused because too much beside them was bad; once you know"
            " why, a larger --max-bad-fraction stores them"
        )
    for name, why in list(report.skipped.items())[:_MOST_TROUBLES]:
        note(f"not read: {name}: {why}")
    if len(report.skipped) > _MOST_TROUBLES:
        note(f"and {len(report.skipped) - _MOST_TROUBLES:,} more that were not read; --json lists all")


def _print_next(report: ImportReport) -> None:
    """How the source is read now, and what gb.yaml says of one that somebody goes on with."""
    stored = [series for series in report.series if series.counts.stored + series.counts.unchanged]
    if not stored:
        return
    one = stored[0]
    kinds = ", ".join(dict.fromkeys(series.resolution.value for series in stored))
    symbols = list(dict.fromkeys(series.symbol for series in stored))
    note(f"read it: gb show {report.source}:{one.symbol} -r {one.resolution}")
    note("to go on with a vendor, under sources: of gb.yaml, with its provider and options:")
    lines = [
        f"  {report.source}:",
        f"    provider: {_VENDORS.get(report.asset_class, '...')}   # whoever goes on with it",
        f"    asset_class: {report.asset_class}",
        f"    calendar: {report.calendar}",
        *(["    extended_hours: true"] if report.extended_hours else []),
        f"    start: {min(series.first for series in stored if series.first).date()}",
        f"    resolutions: [{kinds}]",
        f"    adjustment: {report.adjustment.value}",
        *(f"    {name}: {str(value).lower()}" for name, value in report.rules.items()),
        f"    symbols: [{', '.join(symbols[:_MOST_NAMES])}]",
    ]
    note("\n".join(lines))
    if len(symbols) > _MOST_NAMES:
        note(f"{len(symbols) - _MOST_NAMES:,} more symbols belong into that list: gb status --json has all of them")


def _as_data(report: ImportReport) -> dict[str, Any]:
    """The report as JSON has it."""
    series = [
        {
            "symbol": item.symbol,
            "resolution": item.resolution,
            "origin": item.origin,
            **item.counts.as_dict(),
            "missing": item.missing,
            "first": item.first,
            "last": item.last,
            "reasons": dict(item.reasons),
            "warnings": dict(item.warnings),
            "worst": item.worst,
            "error": item.error,
        }
        for item in report.series
    ]
    actions = report.actions
    kinds = ("received", "new", "restated", "unchanged", "withdrawn", "quarantined", "repeated", "late")
    return {
        "format": report.format,
        "path": report.path,
        "source": report.source,
        "dry_run": report.dry_run,
        "import_id": report.import_id,
        "calendar": report.calendar,
        "extended_hours": report.extended_hours,
        "asset_class": report.asset_class,
        "adjustment": report.adjustment,
        "rules": report.rules,
        "total": report.total.as_dict(),
        "series": series,
        "corporate_actions": None if actions is None else {name: getattr(actions, name) for name in kinds},
        "corporate_actions_read": report.action_rows,
        "notes": report.notes,
        "skipped": report.skipped,
    }
