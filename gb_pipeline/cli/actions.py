"""`gb actions` fetches and shows splits, dividends, listings and delistings.

This module parses arguments and prints results. `ingest` asks the vendors, `reading` answers from the lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.names import Names, select, select_symbols, stored_names
from gb_pipeline.cli.options import (
    AsOf,
    Config,
    Json,
    LakeFolder,
    load_settings,
    open_lake,
    open_store,
    parse_day,
    project_of,
    split_series,
)
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import TransientVendorError, UnknownSeries
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.ingest.corporate_actions import ActionsOutcome
    from gb_pipeline.reading.lake import Lake

_COUNTS = ("received", "new", "restated", "withdrawn", "quarantined")
_COLUMNS = (
    "source", "symbol", "ex_date", "kind", "label", "split_to", "split_from", "amount", "currency", "pay_date", "known_at",
)  # fmt: skip
_STYLES = {"stored": "green", "failed": "red", "deferred": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("actions", "Fetch and show splits, dividends and listings.")
    group.command("fetch")(fetch)
    group.command("show")(show)
    app.add_typer(group)


def fetch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all symbols of the source by default.", show_default=False
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First ex-date, such as 2024-01-02; the source's start by default.")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="End date (exclusive); everything announced so far by default.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch corporate actions of some symbols into the lake.

    Fetching again is harmless: where the vendor's answer has changed, the new version is stored beside the old one. If the vendor
    has adjusted its history for a new split (yahoo), the stored bars are fetched again. Exits with 1 when the vendor refuses
    permanently or rows were rejected, and with 3 after a temporary failure or when its quota is used up.
    """
    from gb_pipeline.catalog.projection import refresh_catalog, table_versions
    from gb_pipeline.ingest.fetch_actions import ingest_actions

    settings = load_settings(config)
    source_settings = settings.source(source)
    store = open_store(settings)
    first = parse_day(start, "--start") if start else None
    last = parse_day(end, "--end") if end else None
    codes = [symbol.code for symbol in select_symbols(source_settings, symbols)] if symbols else None
    outcomes = ingest_actions(store, source_settings, codes, first, last)
    if table_versions(store):
        refresh_catalog(store, settings.sources)
    rows = [_row(outcome) for outcome in outcomes]
    if as_json:
        print_json({"source": source, "symbols": rows})
    else:
        columns = ("symbol", *_COUNTS, "refetched", "status")
        print_table(columns, [[row[name] for name in columns] for row in rows], styles=_STYLES)
    return _report_problems(outcomes)


def show(
    names: Names = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.", show_default=False)] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only this kind: split, cash_dividend, listing or delisting.", show_default=False)
    ] = None,
    start: Annotated[str | None, typer.Option(help="First ex-date, such as 2024-01-02.")] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive).")] = None,
    as_of: AsOf = None,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="Include those that the vendor no longer returns.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Rows to print, newest ex-dates first; --json prints all.", min=1)] = 50,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show the lake's corporate actions, now or as of a moment."""
    import polars as pl

    opened_lake = open_lake(config, lake)
    ask = partial(opened_lake.corporate_actions, kind=kind, start=start, end=end, as_of=as_of, withdrawn=withdrawn)
    settings = project_of(opened_lake, config)
    chosen = _choose(opened_lake, names or [], source, settings)
    try:
        frame = pl.concat([ask(codes, source=of) for of, codes in chosen.items()])
    except UnknownSeries as error:
        if error.near or not names:
            raise
        _refuse_unknown(opened_lake, names, settings)
        raise UnknownSeries(f"corporate actions of {' '.join(names)} were never fetched", fix=error.fix) from None
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    columns = (*_COLUMNS, "withdrawn") if withdrawn else _COLUMNS
    newest = frame.sort("ex_date", "source", "symbol", descending=[True, False, False]).head(limit)
    if newest.height:
        print_table(columns, newest.select(pl.col(columns)).rows())
    hidden = frame.height - newest.height
    note(
        format_count(frame.height, "action")
        + (f", the newest {limit} of them shown (--limit, --json)" if hidden else "")
    )
    return ExitCode.OK


def _choose(
    lake: Lake, names: list[str], source: str | None, settings: Settings | None
) -> dict[str | None, list[str] | None]:
    """What names mean: codes by source. Sources and patterns are those of which actions were fetched, if only to find none."""
    from gb_pipeline.adjustment.split_timeline import action_fetches

    if not names:
        return {source: None}
    known: dict[str, list[str]] = {}
    for row in lake.corporate_actions(source=source, withdrawn=True).select("source", "symbol").unique().rows():
        known.setdefault(row[0], []).append(row[1])
    for of in (
        {*stored_names(lake), *(settings.sources if settings is not None else ())} if source is None else {source}
    ):
        fetched = action_fetches(lake.store.tables, of)["symbol"].unique().sort().to_list()
        if fetched:
            known[of] = list(dict.fromkeys([*known.get(of, []), *fetched]))
    chosen: dict[str | None, list[str] | None] = {}
    for name in names:
        if name in known or any(letter in name for letter in "*?["):
            pairs: list[tuple[str | None, list[str]]] = list(select([name], known, "the table of actions").items())
        else:
            # Of a symbol without actions the lake knows whether they were ever fetched.
            of, symbol = split_series(name) if ":" in name else (source, name.upper())
            pairs = [(of, [symbol])]
        for of, symbols in pairs:
            chosen[of] = [*(chosen.get(of) or []), *symbols]
    return chosen


def _refuse_unknown(lake: Lake, names: Sequence[str], settings: Settings | None) -> None:
    """Tell a name that neither the lake nor gb.yaml has from one whose actions were never fetched."""
    known = stored_names(lake)
    for name, source in (settings.sources if settings is not None else {}).items():
        known[name] = list(dict.fromkeys([*known.get(name, []), *(symbol.code for symbol in source.instruments)]))
    select(names, known, "the lake")


def _row(outcome: ActionsOutcome) -> dict[str, Any]:
    status = "failed" if outcome.error else "deferred" if outcome.deferred else "stored"
    return {
        "symbol": outcome.symbol.code,
        "start": outcome.start,
        "end": outcome.end,
        **{name: getattr(outcome, name) for name in _COUNTS},
        "unchanged": outcome.unchanged,
        "refetched": [f"{item.outcome.start} {item.resolution}" for item in outcome.refetched],
        "restated_by_split": list(outcome.restated_by_split),
        "doubtful": list(outcome.doubtful),
        "worst": list(outcome.worst),
        "status": status,
        "error": outcome.error.what if outcome.error else None,
        "deferred_until": outcome.deferred_until,
    }


def _report_problems(outcomes: list[ActionsOutcome]) -> ExitCode:
    """Print every problem once, and choose the exit code."""
    for outcome in outcomes:
        code = outcome.symbol.code
        if outcome.restated_by_split:
            days = ", ".join(map(str, outcome.restated_by_split))
            note(f"{code}: the split of {days} changed the vendor's history; the stored bars have been fetched again")
        for warning in outcome.doubtful:
            note(f"{code}: {warning}; one of them may be withdrawn later")
    errors = {item.error.what: item.error for item in outcomes if item.error is not None}
    for what, error in errors.items():
        print_error(what, error.fix)
    refused = [item for item in outcomes if item.quarantined]
    for item in refused[:5]:
        reason = item.worst[0]["why"] if item.worst else "see the table"
        print_error(
            f"{item.symbol.code}: {format_count(item.quarantined, 'action')} refused: {reason}",
            "`gb quarantine list` has them; see docs/quality.md",
        )
    deferral = next((item.deferred for item in outcomes if item.deferred is not None), None)
    if deferral is not None:
        print_error(deferral.what, deferral.fix or f"deferred until {deferral.until:%Y-%m-%d %H:%M} UTC")
    if refused or any(not isinstance(error, TransientVendorError) for error in errors.values()):
        return ExitCode.FAILED
    return ExitCode.TRANSIENT if errors or deferral is not None else ExitCode.OK
