"""`gb pin`, `gb pins` and `gb unpin`: names for what is known of some series at a moment. `reading.pins` makes and opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import select_stored
from gb_pipeline.cli.options import AsOf, Config, End, Json, LakeFolder, Start, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import GbError, LakeError, PinRefused
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.lake.pins import Pin
    from gb_pipeline.reading.lake import Lake

_STYLES = {"as it was": "green", "differs": "red"}
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the pin.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pin")(pin)
    app.command("pins")(pins)
    app.command("unpin")(unpin)


def pin(
    name: _Name,
    series: Annotated[
        list[str], typer.Argument(metavar="SERIES", help="Sources, SOURCE:SYMBOL or symbols.", show_default=False)
    ],
    resolution: Annotated[
        str, typer.Option("--resolution", "-r", help="Resolution, such as 1m.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Name what is known of some series.

    It can be read again exactly so, whatever is restated later: `lake.replay(NAME)` in Python. --json prints the whole pin, for a
    repository of your own.
    """
    opened_lake = open_lake(config, lake)
    chosen = select_stored(opened_lake, series, project_of(opened_lake, config))
    codes = [f"{source}:{symbol}" for source, symbols in chosen.items() for symbol in symbols]
    made = opened_lake.pin(name, codes, resolution, start, end, as_of=as_of)
    if as_json:
        import sys

        sys.stdout.write(made.to_json())
        return ExitCode.OK
    rows = made.series
    note(f"{name}: {format_count(int(rows['bars'].sum()), 'bar')} of {rows.height:,} series")
    note(f"as known at {made.as_of.isoformat()}")
    note(f"fingerprint {made.fingerprint}")
    return ExitCode.OK


def pins(
    verify: Annotated[bool, typer.Option("--verify", help="Read every bar and say whether each pin holds.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List pins.

    With --verify, every bar of each is read; exit code 1 says that one can no longer be replayed exactly, and which bar differs.
    """
    opened_lake = open_lake(config, lake)
    refused: dict[str, PinRefused] = {}
    damaged: list[LakeError] = []
    listed = opened_lake.pins(damaged)
    if verify:
        refused = {item.name: error for item in listed if (error := _try(opened_lake, item)) is not None}
    if as_json:
        print_json([_to_dict(item, refused.get(item.name), verify=verify) for item in listed])
    elif not listed:
        note("there is no pin that can be read" if damaged else "there is no pin")
    else:
        states = ("differs" if item.name in refused else "as it was" if verify else "" for item in listed)
        rows = [(*_cells(item), state) for item, state in zip(listed, states, strict=True)]
        headings = ("pin", "series", "", "bars", "as of (UTC)", "fingerprint", "now")
        print_table(
            headings if verify else headings[:-1], rows if verify else [row[:-1] for row in rows], styles=_STYLES
        )
    problems: list[GbError] = [*damaged, *refused.values()]
    for problem in problems:
        print_error(problem.what, problem.fix)
    return ExitCode.FAILED if damaged or refused else ExitCode.OK


def unpin(name: _Name, config: Config = None, lake: LakeFolder = None) -> int:
    """Forget a pin. No bar is touched."""
    open_lake(config, lake).unpin(name)
    note(f"{name} is no pin any more")
    return ExitCode.OK


def _cells(pin: Pin) -> tuple[Any, ...]:
    bars = int(pin.sessions["bars"].sum())
    return pin.name, pin.series.height, pin.resolution.value, bars, pin.as_of, pin.fingerprint[:16]


def _try(lake: Lake, pin: Pin) -> PinRefused | None:
    try:
        lake.replay(pin)
    except PinRefused as error:
        return error
    return None


def _to_dict(pin: Pin, error: PinRefused | None, *, verify: bool) -> dict[str, Any]:
    window = {"start": None, "end": None} if pin.window is None else {"start": pin.window.start, "end": pin.window.end}
    found: dict[str, Any] = {
        "name": pin.name,
        "resolution": pin.resolution.value,
        **window,
        "as_of": pin.as_of,
        "fingerprint": pin.fingerprint,
        "created_at": pin.created_at,
        "version": pin.version,
        "series": pin.series.to_dicts(),
    }
    if verify:
        found |= {"holds": error is None, "differences": [] if error is None else error.differences.to_dicts()}
    return found
