"""`gb fingerprint` prints the content of series as hashes. `reading.fingerprints` makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import AsOf, Config, End, Json, LakeFolder, Start, open_lake, parse_moment, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.market.window import Window
    from gb_pipeline.reading.fingerprints import Fingerprint

# As many digits as those of sessions have; all of them are in JSON.
_SHOWN = 16
_LISTED = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fingerprint")(fingerprint)


def fingerprint(
    names: Names = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only this resolution, such as 1m.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every bar and compare it with what was recorded.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Print the content of series as hashes.

    Lakes that hold the same bars print the same. No file of bars is opened: the ledger knows the fingerprint of every session. With
    --verify, bars are read and compared with it, and exit code 1 says that some are not as recorded. Digits are shortened in the
    table; the last line and --json have all 64.
    """
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.reading.fingerprints import make_fingerprint

    opened_lake = open_lake(config, lake)
    chosen: Iterable[tuple[str | None, Sequence[str] | None]] = [(None, None)]
    if names:
        chosen = select_stored(opened_lake, names, project_of(opened_lake, config)).items()
    parsed = None if resolution is None else Resolution.parse(resolution)
    moment, window = parse_moment(as_of), _window(start, end)
    found = make_fingerprint(opened_lake.store.tables, chosen, parsed, window, moment, verify=verify)
    if as_json:
        print_json(_to_dict(found, verify=verify))
    else:
        _print(found, verify=verify)
    return ExitCode.OK if found.is_proved else ExitCode.FAILED


def _window(start: str | None, end: str | None) -> Window | None:
    from gb_pipeline.reading.arguments import between

    return between(start, end) if start or end else None


def _to_dict(found: Fingerprint, *, verify: bool) -> dict[str, Any]:
    proved = {"proved": found.is_proved, "mismatches": found.mismatches.to_dicts()} if verify else {}
    return {"fingerprint": found.whole, "series": found.series.to_dicts(), **proved}


def _print(found: Fingerprint, *, verify: bool) -> None:
    rows = [
        (
            f"{row['source']}:{row['symbol']}",
            row["resolution"],
            row["sessions"],
            row["bars"],
            row["fingerprint"][:_SHOWN],
        )
        for row in found.series.iter_rows(named=True)
    ]
    if not rows:
        note("there is no bar")
        return
    print_table(("series", "", "sessions", "bars", "fingerprint"), rows)
    print_table(("all of it",), [(found.whole,)])
    if not verify:
        return
    if found.is_proved:
        note(f"{format_count(int(found.series['bars'].sum()), 'bar')} were read, and are as recorded")
        return
    for row in found.mismatches.head(_LISTED).iter_rows(named=True):
        note(f"{row['source']}:{row['symbol']} {row['resolution']}, session {row['session']}: {row['problem']}")
    print_error(
        f"{format_count(found.mismatches.height, 'session')} are not as recorded",
        "`gb verify` says what is damaged; with --repair it is mended",
    )
