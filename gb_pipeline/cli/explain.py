"""`gb explain`: where one bar comes from.

Belongs here: arguments, and printing an explanation. Does not belong here: finding it (`provenance.explain`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, load_settings, open_lake, parse_moment, split_series
from gb_pipeline.cli.output import ExitCode, count, note, print_json, print_table, size, text
from gb_pipeline.errors import ConfigError, UnknownSeries

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.provenance.explain import Explanation, Origin
    from gb_pipeline.reading.lake import Lake

_STYLES = {"agrees": "green", "differs": "red", "unreadable": "red", "absent": "yellow", "refused": "yellow"}
_VERDICTS = {
    "agrees": "the bar follows from these bytes",
    "differs": "these bytes say something else",
    "absent": "these bytes have no such bar",
    "refused": "these bytes have the bar, and it is refused",
    "not kept": "its response was not kept (`keep_raw: true`)",
    "unreadable": "its response cannot be read",
    "not read": "its response was not read",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    series: Annotated[str, typer.Argument(help="SOURCE:SYMBOL, such as coinbase:BTC-USD.", show_default=False)],
    timestamp: Annotated[
        str, typer.Argument(help="The bar's open, as 2024-01-02T09:30Z, or 2024-01-02 for a day.", show_default=False)
    ],
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Such as 1m; the finest that is stored by default.")
    ] = None,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Explain a bar: its file, its session, the fetch that brought it, and the vendor's own bytes.

    Where the source keeps responses (`keep_raw: true`), the bar is made of them again and compared. Ends with 1 when the
    bar is not there, or does not follow from the response that brought it.
    """
    from gb_pipeline.market.window import instant
    from gb_pipeline.provenance.explain import explain as run

    source, symbol = split_series(series)
    moment, known = instant(timestamp), parse_moment(as_of)
    opened = open_lake(config, lake)
    length = _resolution(opened, source, symbol, resolution)
    found = run(opened, source, symbol, length, moment, settings=_settings(config, lake, source), as_of=known)
    if as_json:
        print_json(asdict(found))
    else:
        print_table(("what", "of", "is"), list(_lines(found)), title=f"{source}:{symbol} {length}", styles=_STYLES)
    broken = found.delivered is not None and found.delivered.verdict in {"differs", "unreadable"}
    return ExitCode.FAILED if found.bar is None or broken else ExitCode.OK


def _settings(config: Path | None, lake: Path | None, source: str) -> SourceSettings | None:
    """Of the source, where there is a usable gb.yaml that has it; a lake alone can be explained as well."""
    try:
        return load_settings(config).sources.get(source)
    except ConfigError as error:
        if config is not None or (lake is None and not os.environ.get("GB_LAKE")):
            note(f"kept responses are not read: {error.what}")
        return None


def _resolution(lake: Lake, source: str, symbol: str, asked: str | None) -> Resolution:
    from gb_pipeline.market.resolution import Resolution

    if asked is not None:
        return Resolution.parse(asked)
    rows = lake.symbols(source)
    found = [Resolution(name) for name in rows.filter(rows["symbol"] == symbol)["resolution"]]
    if not found:
        raise UnknownSeries(f"nothing is stored as {source}:{symbol}", fix="`gb status` lists what there is")
    return min(found, key=list(Resolution).index)


def _lines(found: Explanation) -> Iterator[tuple[str, str, str]]:
    yield "bar", "timestamp", f"{text(found.timestamp)} UTC"
    if found.bar is None:
        yield "", "content", "there is none" if found.as_of is None else f"none was known at {text(found.as_of)} UTC"
    else:
        yield from _content_lines(found.bar)
    if found.place is not None:
        yield "file", "table", found.place.table
        yield "", "path", found.place.file
        yield "", "row group", text(found.place.row_group)
    if found.session is not None:
        yield "session", "date", text(found.session["session"])
        for name in ("status", "expected", "actual", "missing", "quarantined", "withdrawn", "gap"):
            if found.session[name] is not None:
                yield "", name, text(found.session[name])
    told = found.delivered, found.latest
    yield from _fetch("brought by" if found.bar is not None else "last answer", found.delivered)
    if found.latest is not None:
        yield from _fetch(f"later, newest of {text(found.later)}", found.latest)
    if found.asked is not None and all(
        one is None or one.answer.fetched_at != found.asked["fetched_at"] for one in told
    ):
        yield "last asked", "at", f"{_cell(found.asked['fetched_at'])} ({found.asked['outcome']})"
        if found.asked["message"]:
            yield "", "error", found.asked["message"]
    yield from _changes(found)


def _content_lines(bar: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in bar.items():
        if name == "withdrawn":
            if value:
                yield "", name, "the vendor no longer returns it"
        elif name not in {"source", "symbol", "timestamp"} and value is not None:
            yield "", name, _cell(value)


def _fetch(label: str, found: Origin | None) -> Iterator[tuple[str, str, str]]:
    if found is None:
        yield label, "fetch", "none is recorded"
        return
    answer = found.answer
    yield label, "fetched at", _cell(answer.fetched_at)
    yield "", "window", f"{text(answer.window.start)} .. {text(answer.window.end)}"
    took = f"{count(answer.calls, 'call')}, {text(answer.latency_ms)} ms, {size(answer.bytes)}"
    yield "", "answer", f"{count(answer.rows, 'row')} in {took}"
    yield "", "run", answer.run_id or "none"
    again = f", read again by {found.reader}" if found.reader not in {None, answer.normaliser} else ""
    yield "", "normaliser", f"{answer.normaliser or 'unknown'}{again}"
    for body in found.bodies:
        yield "", "response", f"{body.path} ({size(body.bytes)} in {size(body.stored_bytes)}, {body.state})"
    yield "", "verdict", found.verdict
    yield "", "", _VERDICTS[found.verdict] + (f": {found.problem}" if found.problem else "")
    if found.verdict == "differs" and found.content is not None:
        yield "", "it says", _content(found.content)


def _changes(found: Explanation) -> Iterator[tuple[str, str, str]]:
    for change in found.restatements:
        old = {name.removeprefix("old_"): value for name, value in change.items() if name.startswith("old_")}
        new = {name.removeprefix("new_"): value for name, value in change.items() if name.startswith("new_")}
        differing = [name for name in new if new[name] != old[name]]
        yield "restated", "at", _cell(change["replaced_at"])
        yield "", "from", _content({name: old[name] for name in differing})
        yield "", "to", _content({name: new[name] for name in differing})
    for row in found.quarantine:
        yield "refused", "at", _cell(row["quarantined_at"])
        yield "", "reasons", ", ".join(row["reasons"])
        yield "", "row", row["row"]


def _content(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {text(value) or 'null'}" for name, value in values.items())


def _cell(value: Any) -> str:
    """As `text`, but moments to the microsecond: who was first can hang on it."""
    return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC" if hasattr(value, "strftime") else text(value)
