"""`gb explain` tells where one bar comes from.

This module parses arguments and prints an explanation, which `provenance.explain` finds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gb_pipeline.cli.names import OneBar, OneSeries, StoredResolution, select_one
from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, load_settings, open_lake, parse_moment, project_of
from gb_pipeline.cli.output import ExitCode, format_size, format_value, note, print_json, print_table
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.market.spelling import format_count

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
    series: OneSeries,
    timestamp: OneBar,
    resolution: StoredResolution = None,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show where a bar comes from.

    Shows its file, its session, the fetch that brought it, and the vendor's own bytes. Where the source keeps responses
    (`keep_raw: true`), the bar is made from them again and compared. Exits with 1 when there is no such bar, or when it does not
    follow from the response that brought it.
    """
    from gb_pipeline.market.window import instant
    from gb_pipeline.provenance.explain import explain as run

    bar_open, as_of_moment = instant(timestamp), parse_moment(as_of)
    opened_lake = open_lake(config, lake)
    source, symbol = select_one(opened_lake, series, project_of(opened_lake, config))
    bar_resolution = choose_resolution(opened_lake, source, symbol, resolution)
    explanation = run(
        opened_lake,
        source,
        symbol,
        bar_resolution,
        bar_open,
        settings=_source_settings(config, lake, source),
        as_of=as_of_moment,
    )
    if as_json:
        print_json(asdict(explanation))
    else:
        print_table(
            ("what", "of", "is"),
            list(_explanation_lines(explanation)),
            title=f"{source}:{symbol} {bar_resolution}",
            styles=_STYLES,
        )
    broken = explanation.delivered is not None and explanation.delivered.verdict in {"differs", "unreadable"}
    return ExitCode.FAILED if explanation.bar is None or broken else ExitCode.OK


def _source_settings(config: Path | None, lake: Path | None, source: str) -> SourceSettings | None:
    """Of the source, where there is a usable gb.yaml that has it; a lake alone can be explained as well."""
    try:
        return load_settings(config).sources.get(source)
    except ConfigError as error:
        if config is not None or (lake is None and not os.environ.get("GB_LAKE")):
            note(f"kept responses are not read: {error.what}")
        return None


def choose_resolution(lake: Lake, source: str, symbol: str, requested: str | None) -> Resolution:
    """The one that was requested, or else the finest that is stored."""
    from gb_pipeline.market.resolution import Resolution

    if requested is not None:
        return Resolution.parse(requested)
    rows = lake.symbols(source)
    stored = [Resolution(name) for name in rows.filter(rows["symbol"] == symbol)["resolution"]]
    stored = stored or [Resolution(name) for name in lake.removals(source, symbol)["resolution"]]
    if not stored:
        raise UnknownSeries(f"nothing is stored as {source}:{symbol}", fix="`gb status` lists what there is")
    return min(stored, key=list(Resolution).index)


def _explanation_lines(explanation: Explanation) -> Iterator[tuple[str, str, str]]:
    yield "bar", "timestamp", f"{format_value(explanation.timestamp)} UTC"
    if explanation.bar is None:
        as_of = explanation.as_of
        yield "", "content", "there is none" if as_of is None else f"none was known at {format_value(as_of)} UTC"
    else:
        yield from _content_lines(explanation.bar)
    if explanation.removal is not None:
        yield from _removal_lines(explanation)
    if explanation.override is not None:
        yield from _correction_lines(explanation.override)
    if explanation.place is not None:
        yield "file", "table", explanation.place.table
        yield "", "path", explanation.place.file
        yield "", "row group", format_value(explanation.place.row_group)
    if explanation.session is not None:
        yield "session", "date", format_value(explanation.session["session"])
        for name in ("status", "expected", "actual", "missing", "quarantined", "withdrawn", "gap"):
            if explanation.session[name] is not None:
                yield "", name, format_value(explanation.session[name])
    origins = explanation.delivered, explanation.latest
    yield from _origin_lines("brought by" if explanation.bar is not None else "last answer", explanation.delivered)
    if explanation.latest is not None:
        yield from _origin_lines(f"later, newest of {format_value(explanation.later)}", explanation.latest)
    if explanation.asked is not None and all(
        origin is None or origin.answer.fetched_at != explanation.asked["fetched_at"] for origin in origins
    ):
        yield "last asked", "at", f"{_format_cell(explanation.asked['fetched_at'])} ({explanation.asked['outcome']})"
        if explanation.asked["message"]:
            yield "", "error", explanation.asked["message"]
    yield from _change_lines(explanation)


def _removal_lines(explanation: Explanation) -> Iterator[tuple[str, str, str]]:
    from gb_pipeline.lake.removals import Action

    row = explanation.removal or {}
    yield "removed", "at", _format_cell(row["known_at"])
    yield "", "how", f"renamed to {row['renamed_to']}" if row["renamed_to"] else row["action"]
    yield "", "reason", row["reason"]
    if row["action"] != Action.PURGED.value:
        yield "", "before", "`--as-of` a moment before shows it"
    if row["renamed_to"]:
        yield "", "now", f"it stands under {row['source']}:{row['renamed_to']}"
    else:
        yield "", "get it back", f"gb fetch {row['source']} {row['symbol']} -r {row['resolution']} --again"


def _correction_lines(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    from gb_pipeline.market.schema import CORRECTABLE

    yield "corrected" if row["row_id"] is None else "released", "at", _format_cell(row["known_at"])
    if row["row_id"] is not None:
        yield "", "refused row", row["row_id"][:12]
    for name in CORRECTABLE:
        corrected, vendor = row[f"corrected_{name}"], row[f"vendor_{name}"]
        if corrected != vendor:
            yield "", name, f"{format_value(corrected)} instead of the vendor's {format_value(vendor)}"
    yield "", "reason", row["reason"]


def _content_lines(bar: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in bar.items():
        if name == "withdrawn":
            if value:
                yield "", name, "the vendor no longer returns it"
        elif name not in {"source", "symbol", "timestamp"} and value is not None:
            yield "", name, _format_cell(value)


def _origin_lines(label: str, origin: Origin | None) -> Iterator[tuple[str, str, str]]:
    if origin is None:
        yield label, "fetch", "none is recorded"
        return
    fetch = origin.answer
    yield label, "fetched at", _format_cell(fetch.fetched_at)
    yield "", "window", f"{format_value(fetch.window.start)} .. {format_value(fetch.window.end)}"
    cost = f"{format_count(fetch.calls, 'call')}, {format_value(fetch.latency_ms)} ms, {format_size(fetch.bytes)}"
    yield "", "answer", f"{format_count(fetch.received, 'row')} in {cost}"
    yield "", "run", fetch.run_id or "none"
    reread = f", read again by {origin.reader}" if origin.reader not in {None, fetch.normaliser} else ""
    yield "", "normaliser", f"{fetch.normaliser or 'unknown'}{reread}"
    for body in origin.bodies:
        yield (
            "",
            "response",
            f"{body.address} ({format_size(body.bytes)} in {format_size(body.stored_bytes)}, {body.state})",
        )
    yield "", "verdict", origin.verdict
    yield "", "", _VERDICTS[origin.verdict] + (f": {origin.problem}" if origin.problem else "")
    if origin.verdict == "differs" and origin.content is not None:
        yield "", "it says", _format_values(origin.content)


def _change_lines(explanation: Explanation) -> Iterator[tuple[str, str, str]]:
    for change in explanation.restatements:
        old = {name.removeprefix("old_"): value for name, value in change.items() if name.startswith("old_")}
        new = {name.removeprefix("new_"): value for name, value in change.items() if name.startswith("new_")}
        differing = [name for name in new if new[name] != old[name]]
        what = "corrected" if change["replaced_at"] in explanation.corrections else "restated"
        yield what, "at", _format_cell(change["replaced_at"])
        yield "", "from", _format_values({name: old[name] for name in differing})
        yield "", "to", _format_values({name: new[name] for name in differing})
    for row in explanation.quarantine:
        yield "refused", "at", _format_cell(row["quarantined_at"])
        yield "", "reasons", ", ".join(row["reasons"])
        yield "", "row", row["row"]


def _format_values(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {format_value(value) or 'null'}" for name, value in values.items())


def _format_cell(value: Any) -> str:
    """As `text`, but moments to the microsecond: who was first can hang on it."""
    return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC" if hasattr(value, "strftime") else format_value(value)
