"""`gb sql` runs a query on the lake and prints the rows. `reading` answers it, from the catalog and the lake's tables."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake, parse_moment
from gb_pipeline.cli.output import ExitCode, format_count, note, print_json, print_table

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
    frame = open_lake(config, lake).sql(sys.stdin.read() if query == "-" else query, as_of=moment)
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    print_table(frame.columns, frame.head(limit).rows())
    hidden = frame.height - limit
    note(
        format_count(frame.height, "row") + (f", {hidden:,} of them not shown (--limit, --json)" if hidden > 0 else "")
    )
    return ExitCode.OK
