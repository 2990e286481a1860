"""`gb sql` runs a query on the lake and prints the rows. `reading` answers it, from the catalog and the lake's tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake, parse_moment
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.reading.sql_plan import SqlPlan

_DEFAULT_LIMIT = 50


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql")(sql)


def sql(
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="A query in DuckDB's SQL; `-` reads it from stdin.", show_default=False),
    ],
    limit: Annotated[int, typer.Option(help="Rows to print in the table; --json prints all.", min=1)] = _DEFAULT_LIMIT,
    as_of: AsOf = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which files the query would open, and DuckDB's plan; run nothing.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Run SQL on the lake.

    Each table of bars has a view (bars_1m, ...), a view with every version of its rows (bars_1m_history), and a macro for a moment:
    from bars_1m_as_of(timestamptz '2024-01-02 09:30Z'). There are also symbol_data, coverage, gaps, incidents, files, restatements,
    corporate_actions, quarantine and fetches. With --as-of, bars, corporate actions, series, coverage and gaps are shown as they
    were known at that moment.
    """
    moment = parse_moment(as_of)
    text = sys.stdin.read() if query == "-" else query
    opened = open_lake(config, lake)
    if explain:
        _print_plan(opened.explain_sql(text, as_of=moment), as_json=as_json)
        return ExitCode.OK
    frame = opened.sql(text, as_of=moment)
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    print_table(frame.columns, frame.head(limit).rows())
    hidden = frame.height - limit
    note(
        format_count(frame.height, "row") + (f", {hidden:,} of them not shown (--limit, --json)" if hidden > 0 else "")
    )
    return ExitCode.OK


def _print_plan(plan: SqlPlan, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.to_dict())
        return
    rows = [
        (
            scan["table"],
            f"{scan['files']:,} of {scan['of_files']:,}",
            f"{scan['bytes']:,} of {scan['of_bytes']:,}",
            scan["rows"],
            ", ".join(scan["columns"]),
        )
        for scan in plan.scans.iter_rows(named=True)
    ]
    if rows:
        print_table(["table", "files", "bytes", "rows", "columns"], rows)
    else:
        note("no file of a table is opened: the catalog alone answers")
    print(plan.steps)
