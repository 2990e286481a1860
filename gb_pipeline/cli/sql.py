"""`gb sql`: a question to the catalog.

Belongs here: printing the answer. Does not belong here: the catalog (`lake.catalog`), running the query (`reading`).
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gb_pipeline.cli.options import Config, Json, LakeFolder, open_lake
from gb_pipeline.cli.output import ExitCode, count, note, print_json, print_table

_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql")(sql)


def sql(
    query: Annotated[str, typer.Argument(help="A query of DuckDB's SQL; `-` reads it from stdin.", show_default=False)],
    limit: Annotated[int, typer.Option(help="Rows to print in the table; --json prints all.", min=1)] = _SHOWN,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Run SQL on the catalog.

    It has one view per table of bars (bars_1m, ...), and the tables symbol_data, coverage, gaps, files, restatements,
    quarantine and fetches.
    """
    frame = open_lake(config, lake).sql(sys.stdin.read() if query == "-" else query)
    if as_json:
        print_json(frame.to_dicts())
        return ExitCode.OK
    print_table(frame.columns, frame.head(limit).rows())
    hidden = frame.height - limit
    note(count(frame.height, "row") + (f", {hidden:,} of them not shown (--limit, --json)" if hidden > 0 else ""))
    return ExitCode.OK
