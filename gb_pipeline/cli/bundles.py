"""`gb bundle` registers named selections of bars, fetches, checks and pins them. `portal.bundles` does it; `fetching` fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import Config, Json, LakeFolder, load_settings, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.lake.bundles import Bundle
    from gb_pipeline.portal.bundle_coverage import BundleReport
    from gb_pipeline.portal.bundles import Bundles

_STYLES = {"open": "red", "explained": "green"}
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the bundle.", show_default=False)]
_Pin = Annotated[
    str | None, typer.Option("--pin", help="One of its pins; the newest one by default.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("bundle", "Name selections of bars; fetch, check and pin them.")
    group.command("register")(register_bundle)
    group.command("ingest")(ingest)
    group.command("list")(list_bundles)
    group.command("info")(info)
    group.command("validate")(validate)
    group.command("pin")(pin)
    group.command("drop")(drop)
    app.add_typer(group)


def register_bundle(
    name: _Name,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source of gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL", help="Symbols of it; all of the source by default.", show_default=False),
    ] = None,
    resolution: Annotated[
        str, typer.Option("--resolution", "-r", help="Resolution, such as 1m.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    start: Annotated[str, typer.Option("--start", help="First session, such as 2024-01-02.", show_default=False)] = ...,  # type: ignore[assignment]
    end: Annotated[str | None, typer.Option("--end", help="End date (exclusive); by default until now.")] = None,
    members: Annotated[
        bool, typer.Option("--members", help="Only who was in the source's universe at some time in the range.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Give a selection of bars a name.

    Nothing is fetched or copied. Without symbols it is all of the source, whichever those are when the bundle is looked at.
    """
    made = _open(config, lake).register(name, source, symbols or None, start, end, resolution, members=members)
    note(f"{name}: {_describe(made)}")
    note(f"fetch what is missing: gb bundle ingest {name}")
    return ExitCode.OK


def ingest(
    name: _Name,
    n_workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-n",
            min=1,
            help="Symbols fetched at the same time; as gb.yaml says by default.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask for sessions that are stored as well.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch what a bundle lacks.

    Runs the code of `gb fetch` and ends like it: 1 when a session was rejected or the vendor refuses permanently, 3 after a
    temporary failure. Ctrl-C stops it; the same command goes on where it stopped.
    """
    from gb_pipeline.cli.fetch_summary import print_summary, report_problems, sum_by_symbol
    from gb_pipeline.cli.fetching import Fetching
    from gb_pipeline.cli.plan import describe_nothing_missing

    bundles, settings = _open(config, None), load_settings(config)
    backlog = bundles.backlog(name, n_workers=n_workers, again=again)
    if not as_json and backlog.wanted.is_empty():
        note(describe_nothing_missing(backlog))
    fetching = Fetching(settings, bundles.lake.store, quiet=as_json)
    outcomes = fetching.run(backlog) if backlog.sessions.height else []
    rows = sum_by_symbol(outcomes)
    if as_json:
        print_json({"bundle": name, "source": backlog.source.name, "resolution": backlog.resolution, "symbols": rows})
    elif outcomes:
        print_summary(rows)
    return report_problems(outcomes)


def list_bundles(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """List bundles, and how many pins each has."""
    bundles = _open(config, lake)
    infos = [bundles.info(bundle.name) for bundle in bundles.list()]
    if as_json:
        print_json([_to_dict(item.bundle) | {"pins": item.pins} for item in infos])
    elif not infos:
        note("there is no bundle")
    else:
        rows = [
            (
                item.bundle.name,
                item.bundle.source,
                _name_symbols(item.bundle),
                item.bundle.resolution.value,
                item.bundle.start,
                item.bundle.end or "now",
                len(item.pins),
            )
            for item in infos
        ]
        print_table(("bundle", "source", "symbols", "", "start", "end", "pins"), rows)
    return ExitCode.OK


def info(name: _Name, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Show a bundle, its symbols and its pins."""
    bundles = _open(config, lake)
    found, symbols = bundles.info(name), bundles.symbols(name)
    known = {item.name: item for item in bundles.lake.pins([])}
    pins = [known[item] for item in found.pins if item in known]
    if as_json:
        listed = [
            {
                "name": item.name,
                "as_of": item.as_of,
                "bars": int(item.sessions["bars"].sum()),
                "fingerprint": item.fingerprint,
            }
            for item in pins
        ]
        print_json(_to_dict(found.bundle) | {"symbols": list(symbols), "pins": listed})
        return ExitCode.OK
    note(f"{name}: {_describe(found.bundle)}")
    note(" ".join(symbols))
    if pins:
        rows = [(item.as_of, int(item.sessions["bars"].sum()), item.fingerprint[:16], item.name) for item in pins]
        print_table(("as of (UTC)", "bars", "fingerprint", "pin"), rows)
    else:
        note(f"it has no pin yet: gb bundle pin {name}")
    return ExitCode.OK


def validate(
    name: _Name, pin: _Pin = None, config: Config = None, lake: LakeFolder = None, as_json: Json = False
) -> int:
    """Say what a bundle lacks, and whether its pin holds.

    Every bar of the pin is read. Exits with 1 where nothing explains that bars are missing, or where bars of the pin differ.
    """
    report = _open(config, lake).validate(name, pin=pin)
    holes = _sum_up(report.holes)
    if as_json:
        print_json(_report_to_dict(report, holes))
    else:
        _print_report(report, holes)
    if report.refused is not None:
        print_error(report.refused.what, report.refused.fix)
    return ExitCode.OK if report.is_ok else ExitCode.FAILED


def pin(
    name: _Name,
    partial: Annotated[
        bool, typer.Option("--partial", help="Pin what there is, although sessions are not stored.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Name what is known of a bundle now.

    Earlier pins stay, and replay as before; `gb pins` lists them with all others, `gb unpin` forgets one. --json prints the whole
    pin, for a repository of your own.
    """
    made = _open(config, lake).pin(name, partial=partial)
    if as_json:
        import sys

        sys.stdout.write(made.to_json())
        return ExitCode.OK
    rows = made.series
    note(f"{made.name}: {format_count(int(rows['bars'].sum()), 'bar')} of {rows.height:,} series")
    note(f"fingerprint {made.fingerprint}")
    return ExitCode.OK


def drop(
    name: _Name,
    with_pins: Annotated[bool, typer.Option("--with-pins", help="And its pins with it.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Forget a bundle. No bar is touched."""
    _open(config, lake).drop(name, with_pins=with_pins)
    note(f"{name} is no bundle any more")
    return ExitCode.OK


def _open(config: Any, folder: Any) -> Bundles:
    """Those of `--lake`, else of the project, whose lake need not exist yet."""
    import os

    from gb_pipeline.portal.bundles import Bundles

    if folder is None and not (config is None and os.environ.get("GB_LAKE")):
        return Bundles.open(config)
    lake = open_lake(config, folder)
    return Bundles(lake, project_of(lake, config))


def _name_symbols(bundle: Bundle) -> str:
    if bundle.symbols is None:
        return "members" if bundle.members else "all"
    return bundle.symbols[0] if len(bundle.symbols) == 1 else f"{len(bundle.symbols):,}"


def _describe(bundle: Bundle) -> str:
    named = _name_symbols(bundle)
    symbols = f"{named} symbols" if named[0].isdigit() and len(bundle.symbols or ()) > 1 else named
    return (
        f"{symbols} of {bundle.source}, {bundle.resolution}, from {bundle.start} to {bundle.end or 'now'} (exclusive)"
    )


def _sum_up(holes: pl.DataFrame) -> pl.DataFrame:
    """Holes by symbol and reason."""
    import polars as pl

    return (
        holes.group_by("symbol", "reason", "is_open")
        .agg(
            first=pl.col("session").min(),
            last=pl.col("session").max(),
            sessions=pl.col("session").n_unique(),
            bars=pl.col("missing").sum(),
        )
        .sort("symbol", "first", "reason")
    )


def _print_report(report: BundleReport, holes: pl.DataFrame) -> None:
    bundle = report.bundle
    note(f"{bundle.name}: {_describe(bundle)}")
    if report.sessions is None:
        note(f"no calendar of {bundle.source} is known: only what was fetched can be checked")
    else:
        note(f"{format_count(report.sessions, 'session')} of {format_count(len(report.symbols), 'symbol')} have closed")
    if holes.is_empty():
        note("no bar is missing")
    else:
        rows = [
            (
                row["symbol"],
                row["reason"].replace("_", " "),
                row["first"],
                row["last"],
                row["sessions"],
                row["bars"] or "",
                "open" if row["is_open"] else "explained",
            )
            for row in holes.to_dicts()
        ]
        print_table(("symbol", "missing because", "first", "last", "sessions", "bars", ""), rows, styles=_STYLES)
    if report.pin is None:
        note(f"it has no pin yet: gb bundle pin {bundle.name}")
    elif report.refused is None:
        note(f"pin {report.pin.name} gives the same numbers")
        if report.changes:
            note(f"{format_count(report.changes, 'bar')} became known or changed since: gb bundle pin {bundle.name}")


def _to_dict(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "source": bundle.source,
        "symbols": None if bundle.symbols is None else list(bundle.symbols),
        "members": bundle.members,
        "resolution": bundle.resolution.value,
        "start": bundle.start,
        "end": bundle.end,
        "created_at": bundle.created_at,
        "version": bundle.version,
    }


def _report_to_dict(report: BundleReport, holes: pl.DataFrame) -> dict[str, Any]:
    refused = report.refused
    return {
        "bundle": report.bundle.name,
        "symbols": list(report.symbols),
        "sessions": report.sessions,
        "is_complete": report.is_complete,
        "holes": holes.to_dicts(),
        "pin": None if report.pin is None else report.pin.name,
        "pin_holds": None if report.pin is None else refused is None,
        "differences": [] if refused is None else refused.differences.to_dicts(),
        "changes": report.changes,
    }
