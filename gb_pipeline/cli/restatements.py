"""`gb restatements` prints how much of its bars each source changed afterwards, and compares that with its budget."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import Config, End, Json, LakeFolder, Start, open_lake, project_of
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restatements")(restatements)


def restatements(
    names: Names = None,
    since: Annotated[
        str | None, typer.Option(help="Only what changed after this moment, such as --since=-30d.", show_default=False)
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Only this resolution, such as 1m.", show_default=False)
    ] = None,
    start: Start = None,
    end: End = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List what vendors changed after it was stored.

    One line is a month of bars of a source: how many of them were restated, their share, the largest relative change of a close,
    and how long after a bar became known. A share above the source's `restatement_budget` ends with exit code 1. --json has every
    change.
    """
    import polars as pl

    from gb_pipeline.lake.restatement_shares import share_by_month

    opened_lake = open_lake(config, lake)
    settings = project_of(opened_lake, config)
    parts: list[tuple[str | None, list[str] | None]] = [(None, None)]
    if names:
        parts = [(source, codes) for source, codes in select_stored(opened_lake, names, settings).items() if codes]
    bounds: dict[str, Any] = {"resolution": resolution, "start": start, "end": end}
    changes = pl.concat([opened_lake.restatements(*part, **bounds, since=since) for part in parts])
    sessions = pl.concat([opened_lake.coverage(*part, resolution=resolution) for part in parts])
    months = _with_budgets(share_by_month(changes, sessions), settings)
    over = months.filter(pl.col("share") > pl.col("budget"))
    if as_json:
        print_json({"months": months.to_dicts(), "changes": changes.to_dicts()})
    elif months.is_empty():
        note("nothing was restated")
    else:
        _print(months)
    for row in over.iter_rows(named=True):
        print_error(
            f"{row['source']} {row['resolution']}: {row['share']:.3%} of the bars of {row['month']:%Y-%m} were restated, and its"
            f" budget is {row['budget']:.3%}",
            "look at them with `gb changes`, ask the vendor, or raise `restatement_budget`",
        )
    return ExitCode.FAILED if over.height else ExitCode.OK


def _with_budgets(months: pl.DataFrame, settings: Settings | None) -> pl.DataFrame:
    import polars as pl

    sources = {} if settings is None else settings.sources
    budgets = [sources[name].restatement_budget if name in sources else None for name in months["source"]]
    return months.with_columns(pl.Series("budget", budgets, pl.Float64))


def _print(months: pl.DataFrame) -> None:
    rows = [
        (
            f"{row['source']} {row['resolution']}",
            f"{row['month']:%Y-%m}",
            row["bars"],
            row["restated"],
            f"{row['share']:.3%}",
            "" if row["budget"] is None else f"{row['budget']:.3%}",
            "" if row["largest"] is None else f"{row['largest']:.2%}",
            str(timedelta(seconds=row["median_age"] // 1_000_000)),
        )
        for row in months.iter_rows(named=True)
    ]
    headings = ("source", "month", "bars", "restated", "share", "budget", "close by", "after")
    print_table(headings, rows, optional=["bars", "budget"])
