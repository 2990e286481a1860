"""`gb factors list`, `run` and `show`: sets of factors of gb.yaml. `research.factors.sets` computes and stores them."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import AsOf, Config, End, Json, LakeFolder, Start, load_settings, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.reading.lake import Lake
    from gb_pipeline.research.factors.sets import FactorSet, Month, StoredMonth

_COUNTS = ("new", "restated", "unchanged", "withdrawn")
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a set.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("factors", "Compute and show stored factors.")
    group.command("list")(list_sets)
    group.command("run")(run)
    group.command("show")(show)
    app.add_typer(group)


def list_sets(config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """List the sets of gb.yaml, and those that the lake has."""
    from gb_pipeline.lake import factors

    opened = open_lake(config, lake)
    settings = project_of(opened, config)
    runs = factors.newest_runs(opened.store.tables)
    stored = {name: rows for (name,), rows in runs.partition_by("factor_set", as_dict=True).items()}
    names = sorted({*stored, *(settings.factors if settings is not None else ())})
    rows = []
    for name in names:
        own = settings.factors.get(name) if settings is not None else None
        months = stored.get(name)
        rows.append(
            {
                "factors": name,
                "source": None if own is None else own.source,
                "columns": None if months is None else len(months["columns"][-1]),
                "months": 0 if months is None else months.height,
                "rows": 0 if months is None else int(months["rows"].sum()),
                "due": None if own is None else _count_due(opened, settings, name),
                "data_as_of": None if months is None else months["data_as_of"].max(),
            }
        )
    if as_json:
        print_json(rows)
    elif rows:
        headings = ("factors", "source", "columns", "months", "rows", "due", "data as of (UTC)")
        print_table(headings, [tuple(row.values()) for row in rows])
    else:
        note("there are no factors: add some under `factors` of gb.yaml")
    return ExitCode.OK


def run(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Sets; all by default.", show_default=False)
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", help="First month, as 2024-01; what is due by default.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option("--end", help="Month to end before; to the present by default.", show_default=False)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compute the months once more, and compare every value with what is stored.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Compute and store the months that are due.

    A month is due if it was never computed, if its set is described otherwise, or if bars or splits behind it became known since.
    With --start, all months from there on are computed. What has not changed is left alone. Exit code 1: with --check a value
    differs.
    """
    from gb_pipeline.research.factors.sets import FactorSet

    settings = load_settings(config)
    opened = open_lake(config, None)
    results: list[dict[str, Any]] = []
    differing = 0
    for name in names or list(settings.factors):
        chosen = FactorSet.of(settings, name)
        months = _choose_months(opened, chosen, start, end)
        results += [_row(name, item) for item in chosen.store(opened, months)]
        if check:
            found = chosen.differences(opened, months)
            differing += found.height
            for row in found.head(5).iter_rows(named=True):
                what = (
                    f"{name}: {row['factor']} of {row['symbol']} on {row['session']} is {row['value'] or row['text']}"
                )
                print_error(f"{what} as {row['side']}, and is not on the other side")
    if as_json:
        print_json(results)
    elif results:
        headings = ("factors", "month", "rows", "nulls", *_COUNTS)
        print_table(headings, [[row[name] for name in headings] for row in results])
    else:
        note("no month is due" if settings.factors else "there are no factors: add some under `factors` of gb.yaml")
    if check and not differing and results:
        note("computed again, every value is the same")
    return ExitCode.FAILED if differing else ExitCode.OK


def show(
    name: _Name,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Only this factor; may be repeated.", show_default=False)
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option("--symbol", help="Only this symbol; may be repeated.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(help="Rows to print, the newest; --json prints all.", min=1)] = 20,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show stored values: a row for each session and symbol."""
    rows = open_lake(config, lake).factors(name, start, end, columns=column, symbols=symbol or None, as_of=as_of)
    if as_json:
        print_json(rows.to_dicts())
        return ExitCode.OK
    if rows.is_empty():
        note("there are no values in that range")
        return ExitCode.OK
    print_table(rows.columns, rows.tail(limit).rows())
    if rows.height > limit:
        note(f"the last {limit:,} of {format_count(rows.height, 'row')}; see --limit")
    return ExitCode.OK


def _choose_months(lake: Lake, chosen: FactorSet, start: str | None, end: str | None) -> list[Month]:
    from gb_pipeline.research.factors.due import find_due_months

    today: date = lake.store.clock().date()
    months = find_due_months(lake, chosen, today) if start is None else chosen.months(today)
    # Both must be months, whatever the set begins with.
    first, last = ("" if each is None else _month_key(each) for each in (start, end))
    return [month for month in months if month.key >= first and (not last or month.key < last)]


def _month_key(text: str) -> str:
    from datetime import datetime

    try:
        return datetime.strptime(text, "%Y-%m").strftime("%Y-%m")
    except ValueError:
        raise ConfigError(f"{text!r:.40} is no month", fix="write it as 2024-01") from None


def _count_due(lake: Lake, settings: Settings | None, name: str) -> int | None:
    from gb_pipeline.errors import GbError
    from gb_pipeline.research.factors.due import find_due_months
    from gb_pipeline.research.factors.sets import FactorSet

    assert settings is not None
    try:
        return len(find_due_months(lake, FactorSet.of(settings, name), lake.store.clock().date()))
    except GbError as error:
        print_error(error.what, error.fix or "")
        return None


def _row(name: str, stored: StoredMonth) -> dict[str, Any]:
    counts = {each: getattr(stored.report, each) for each in _COUNTS}
    return {
        "factors": name,
        "month": stored.month.key,
        "rows": stored.rows.height,
        "nulls": stored.nulls,
        **counts,
        "data_as_of": stored.data_as_of,
        "data_fingerprint": stored.fingerprint,
    }
