"""`gb fundamentals` fetches and shows what companies reported, and where they are listed.

This module parses arguments and prints results. `ingest` asks the vendors, `reading` answers from the lake.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.names import select_symbols
from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, load_settings, open_lake, open_store
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError, TransientVendorError, VendorError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.fundamentals import FundamentalsOutcome
    from gb_pipeline.lake.store import LakeStore

_COUNTS = ("received", "new", "restated", "withdrawn", "quarantined")
_COLUMNS = (
    "source", "symbol", "statement", "kind", "fiscal_period_end", "item", "value", "currency", "unit", "published_at",
)  # fmt: skip
_LISTING_COLUMNS = ("source", "symbol", "name", "exchange", "asset_type", "ipo_date", "delisting_date", "status")
_STYLES = {"stored": "green", "failed": "red", "deferred": "yellow"}
Limit = Annotated[int, typer.Option(help="Rows to print; --json prints all.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("fundamentals", "Fetch and show what companies reported.")
    group.command("fetch")(fetch)
    group.command("show")(show)
    group.command("listings")(show_listings)
    group.command("replay")(replay)
    app.add_typer(group)


def fetch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all that are due by default, see refresh_days.", show_default=False
        ),
    ] = None,
    statement: Annotated[
        list[str] | None,
        typer.Option(help="Only this statement; may be repeated. Those of gb.yaml by default.", show_default=False),
    ] = None,
    listings: Annotated[bool, typer.Option("--listings", help="The list of what is and was listed instead.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch fundamentals of some symbols into the lake.

    Fetching again is harmless: what the vendor restated is stored beside what it said before. Exits with 1 when the vendor refuses
    permanently or rows were rejected, and with 3 after a temporary failure or when its quota is used up.
    """
    from gb_pipeline.catalog.projection import refresh_catalog, table_versions
    from gb_pipeline.ingest.fundamentals import ingest_fundamentals

    settings = load_settings(config)
    source_settings = settings.source(source)
    store = open_store(settings)
    if listings and (symbols or statement):
        raise ConfigError("the list is one answer about all symbols", fix="leave out symbols and --statement")
    try:
        if listings:
            return _fetch_listings(store, source_settings, as_json=as_json)
        codes = [symbol.code for symbol in select_symbols(source_settings, symbols)] if symbols else None
        outcomes = ingest_fundamentals(store, source_settings, codes, statements=statement)
    finally:
        if table_versions(store):
            refresh_catalog(store, settings.sources)
    rows = [_row(outcome) for outcome in outcomes]
    if as_json:
        print_json({"source": source, "symbols": rows})
    elif rows:
        columns = ("symbol", *_COUNTS, "calls", "status")
        print_table(columns, [[row[name] for name in columns] for row in rows], styles=_STYLES)
    else:
        note(f"no company is due: every answer is younger than {source_settings.fundamentals.refresh_days} days")
    return _report_problems(outcomes)


def show(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Canonical codes; all by default.", show_default=False)
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(help="Only this item, such as total_revenue; may be repeated.", show_default=False),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.", show_default=False)] = None,
    statement: Annotated[
        str | None,
        typer.Option(help="overview, income_statement, balance_sheet, cash_flow or earnings.", show_default=False),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="annual, quarterly or snapshot.", show_default=False)] = None,
    start: Annotated[str | None, typer.Option(help="First end of a fiscal period, such as 2024-03-31.")] = None,
    end: Annotated[str | None, typer.Option(help="End date of that range (exclusive).")] = None,
    published_by: Annotated[
        str | None,
        typer.Option(help="What the public could have at this moment, such as 2024-05-01.", show_default=False),
    ] = None,
    trailing: Annotated[bool, typer.Option("--ttm", help="Sums of the four newest quarters instead.")] = False,
    versions: Annotated[bool, typer.Option("--versions", help="Every version that was ever known.")] = False,
    limit: Limit = 50,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show what companies reported, newest first.

    As it is now, as it was known at a moment (--as-of), or as the public could have it at one (--published-by).
    """
    opened_lake = open_lake(config, lake)
    codes = [symbol.upper() for symbol in symbols] if symbols else None
    if trailing:
        if kind or start or end or versions:
            raise ConfigError(
                "--ttm is about the four newest quarters", fix="leave out --kind, --start, --end and --versions"
            )
        frame = opened_lake.trailing_twelve_months(
            codes, item or None, source=source, statement=statement, as_of=as_of, published_by=published_by
        )
        columns = tuple(name for name in _COLUMNS if name in frame.columns)
    else:
        frame = opened_lake.fundamentals(
            codes, item or None, start, end, source=source, statement=statement, kind=kind, as_of=as_of,
            published_by=published_by, versions=versions,
        )  # fmt: skip
        frame = frame.sort(
            ["fiscal_period_end", "source", "symbol", "statement", "item", "known_at"],
            descending=[True, False, False, False, False, False], nulls_last=False, maintain_order=True,
        )  # fmt: skip
        columns = (*_COLUMNS, "known_at") if versions else _COLUMNS
    return _print(frame, columns, limit, "number", as_json=as_json)


def show_listings(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Canonical codes; all by default.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only from this source.", show_default=False)] = None,
    on: Annotated[str | None, typer.Option(help="Only what was listed on this day.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option(help="active or delisted.", show_default=False)] = None,
    limit: Limit = 50,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show what is and was listed, delisted ones too."""
    codes = [symbol.upper() for symbol in symbols] if symbols else None
    frame = open_lake(config, lake).listings(codes, source=source, on=on, status=status, as_of=as_of)
    return _print(frame, _LISTING_COLUMNS, limit, "listing", as_json=as_json)


def replay(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(metavar="SYMBOL", help="Canonical codes; all with an answer by default.", show_default=False),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Store what differs, as a fetch would.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Compare kept answers with what is stored.

    Reads them again, without the vendor. Sources keep them with `keep_raw: true`. Exits with 1 when a stored row differs from its
    answer, unless --write has corrected it, and when an answer could not be read.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.provenance.fundamentals_replay import replay_fundamentals

    settings = load_settings(config)
    source_settings = settings.source(source)
    store = open_store(settings)
    codes = [symbol.code for symbol in select_symbols(source_settings, symbols)] if symbols else None
    results = replay_fundamentals(store, source_settings, codes, write=write)
    if write and any(result.differs for result in results):
        refresh_catalog(store, settings.sources)
    names = ("received", "new", "restated", "withdrawn", "unchanged")
    rows = [
        {
            "symbol": item.symbol,
            **{name: None if item.report is None else getattr(item.report, name) for name in names},
            "problem": None if item.problem is None else item.problem.what,
        }
        for item in results
    ]
    if as_json:
        print_json({"source": source, "symbols": rows})
    elif rows:
        columns = ("symbol", *names)
        print_table(columns, [[row[name] for name in columns] for row in rows])
    else:
        note(f"no answer about a company of {source} is on record")
    for problem in {item.problem.what: item.problem for item in results if item.problem is not None}.values():
        print_error(problem.what, problem.fix)
    differs = any(item.differs for item in results) and not write
    return ExitCode.FAILED if differs or any(item.problem for item in results) else ExitCode.OK


def _fetch_listings(store: LakeStore, source: SourceSettings, *, as_json: bool) -> int:
    from gb_pipeline.ingest.fundamentals import ingest_listings

    try:
        report = ingest_listings(store, source)
    except VendorError as error:
        print_error(error.what, error.fix)
        return ExitCode.TRANSIENT if isinstance(error, TransientVendorError) else ExitCode.FAILED
    row = {name: getattr(report, name) for name in (*_COUNTS, "unchanged", "repeated", "late")}
    if as_json:
        print_json({"source": source.name, **row})
    else:
        print_table(tuple(row), [list(row.values())])
    if report.quarantined:
        reason = report.worst[0]["why"]
        print_error(f"{format_count(report.quarantined, 'listing')} refused: {reason}", "`gb quarantine list` has them")
    return ExitCode.FAILED if report.quarantined else ExitCode.OK


def _print(frame: pl.DataFrame, columns: tuple[str, ...], limit: int, what: str, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    shown = frame.head(limit)
    if shown.height:
        names = [name for name in columns if name in frame.columns]
        # A text stands where a number would.
        cells = [{**row, "value": _told(row)} if "value" in row else row for row in shown.rows(named=True)]
        print_table(tuple(names), [[row[name] for name in names] for row in cells])
    hidden = frame.height - shown.height
    note(format_count(frame.height, what) + (f", the first {limit} of them shown (--limit, --json)" if hidden else ""))
    return ExitCode.OK


def _told(row: dict[str, Any]) -> Any:
    value = row["value"]
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if value else "0"
    return row.get("text")


def _row(outcome: FundamentalsOutcome) -> dict[str, Any]:
    status = "failed" if outcome.error else "deferred" if outcome.deferred else "stored"
    return {
        "symbol": outcome.symbol.code,
        "statements": [str(item) for item in outcome.statements],
        **{name: getattr(outcome, name) for name in (*_COUNTS, "unchanged", "repeated", "late", "calls")},
        "nothing": list(outcome.nothing),
        "worst": list(outcome.worst),
        "status": status,
        "error": outcome.error.what if outcome.error else None,
        "deferred_until": outcome.deferred.until if outcome.deferred else None,
    }


def _report_problems(outcomes: list[FundamentalsOutcome]) -> ExitCode:
    """Print every problem once, and choose the exit code."""
    for outcome in outcomes:
        if outcome.ok and outcome.nothing:
            note(f"{outcome.symbol.code}: the vendor has nothing of {', '.join(outcome.nothing)}")
    errors = {item.error.what: item.error for item in outcomes if item.error is not None}
    for what, error in errors.items():
        print_error(what, error.fix)
    refused = [item for item in outcomes if item.quarantined]
    for item in refused[:5]:
        reason = item.worst[0]["why"] if item.worst else "see the table"
        print_error(
            f"{item.symbol.code}: {format_count(item.quarantined, 'row')} refused: {reason}",
            "`gb quarantine list` has them; see docs/fundamentals.md",
        )
    deferral = next((item.deferred for item in outcomes if item.deferred is not None), None)
    if deferral is not None:
        print_error(deferral.what, deferral.fix or f"deferred until {deferral.until:%Y-%m-%d %H:%M} UTC")
    if refused or any(not isinstance(error, TransientVendorError) for error in errors.values()):
        return ExitCode.FAILED
    return ExitCode.TRANSIENT if errors or deferral is not None else ExitCode.OK
