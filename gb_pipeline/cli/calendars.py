"""`gb calendars` lists sessions of which the calendar says something else than was recorded, and records them anew.

What differs is found in `lake.calendar_changes`; this module asks for every source of gb.yaml and prints it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import select_configured
from gb_pipeline.cli.options import Config, Json, load_settings, open_store
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from gb_pipeline.config.settings import Settings, SourceSettings
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.resolution import Resolution

# Days to print; --json has all.
_MOST = 50


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calendars")(calendars)


def calendars(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Only these sources; all of gb.yaml by default.", show_default=False),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Record the sessions anew; those that lack bars are fetched next.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List sessions that calendars have changed.

    Compares the sessions that are stored with what their calendar says now.

    A calendar changes with a release of this package, and with the setting `calendar` of a source. Nothing is fetched and no bar
    is changed: with --apply, days that became sessions are recorded as missing, so that `gb fetch` asks for them, and days
    without bars that are none any more as closed. Exits with 1 while something differs.
    """
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.lake.calendar_changes import KEPT
    from gb_pipeline.market.compiled_sessions import compiled_calendars

    settings = load_settings(config)
    store = open_store(settings)
    rows: list[dict[str, Any]] = []
    recorded = 0
    for source, resolution, changes in _find(settings, store, sources or []):
        rows += _by_day(changes, source.rules(resolution).calendar.version)
        if apply:
            recorded += _record(store, source, resolution, changes)
    if recorded:
        refresh_catalog(store, settings.sources)
    if as_json:
        every = compiled_calendars()
        print_json(
            {"calendars": every.made_from, "corrections": every.corrections, "recorded": recorded, "changes": rows}
        )
    else:
        _print_changes(rows, recorded, apply=apply)
    return ExitCode.FAILED if not apply and any(row["change"] not in KEPT for row in rows) else ExitCode.OK


def find_changed_sessions(settings: Settings, store: LakeStore) -> dict[str, int]:
    """How many stored sessions of each source could be recorded anew; sources without such a difference are left out."""
    import polars as pl

    from gb_pipeline.lake.calendar_changes import KEPT

    counts: dict[str, int] = {}
    for source, _, changes in _find(settings, store, []):
        counts[source.name] = counts.get(source.name, 0) + changes.filter(~pl.col("change").is_in(KEPT)).height
    return {source: count for source, count in counts.items() if count}


def _find(
    settings: Settings, store: LakeStore, names: list[str]
) -> Iterator[tuple[SourceSettings, Resolution, pl.DataFrame]]:
    """The differences of every source and resolution that has any."""
    from gb_pipeline.lake import ledger
    from gb_pipeline.lake.calendar_changes import find_calendar_changes
    from gb_pipeline.market.resolution import Resolution

    chosen = select_configured(settings, names) if names else settings.sources
    for name in chosen:
        source = settings.source(name)
        stored = ledger.scan(store.tables, name, columns=["resolution"]).unique().collect()["resolution"]
        for resolution in sorted(map(Resolution, stored), key=list(Resolution).index):
            changes = find_calendar_changes(store, name, source.rules(resolution))
            if changes.height:
                yield source, resolution, changes


def _record(store: LakeStore, source: SourceSettings, resolution: Resolution, changes: pl.DataFrame) -> int:
    from gb_pipeline.lake.calendar_changes import record_calendar_changes

    listings = {code: source.listing(code) for code in changes["symbol"].unique()}
    return record_calendar_changes(store, source.name, source.rules(resolution), changes, listings)


def _by_day(changes: pl.DataFrame, calendar: str) -> list[dict[str, Any]]:
    import polars as pl

    days = changes.group_by("source", "resolution", "session", "change", "expected", "expected_now").agg(
        pl.col("symbol").n_unique().alias("series"),
        pl.col("actual", "refused").sum(),
        pl.col("calendar").drop_nulls().unique().sort().str.join(", ").alias("recorded_by"),
    )
    return days.with_columns(pl.lit(calendar).alias("calendar")).sort("session", "source", "resolution").to_dicts()


def _print_changes(rows: list[dict[str, Any]], recorded: int, *, apply: bool) -> None:
    from gb_pipeline.lake.calendar_changes import KEPT

    if not rows:
        note("every stored session is as its calendar has it")
        return
    body = [
        (row["source"], row["resolution"], row["session"], row["change"],
         f"{row['expected']:,} -> {row['expected_now']:,}", row["series"], row["refused"])
        for row in rows[-_MOST:]
    ]  # fmt: skip
    print_table(("source", "", "session", "change", "bars", "series", "refused"), body, optional=("series", "refused"))
    if len(rows) > _MOST:
        note(f"{len(rows) - _MOST:,} older days are not shown (--json)")
    refused = sum(row["refused"] for row in rows if row["change"] not in KEPT)
    if refused:
        note(f"{format_count(refused, 'row')} of these days lie in quarantine: `gb fetch` asks for them again")
    kept = sum(row["change"] in KEPT for row in rows)
    if kept:
        note(f"bars that no session of the calendar explains ({format_count(kept, 'day')}) stay as they were recorded")
    if apply:
        note(f"{format_count(recorded, 'session')} recorded anew; `gb fetch` asks for those that lack bars")
    elif kept < len(rows):
        note("use --apply to record them; `gb fetch` then asks for those that lack bars")
