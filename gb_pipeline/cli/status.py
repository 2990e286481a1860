"""`gb status` prints how complete every series is. It queries the catalog, which counts from the lake's ledger."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gb_pipeline.cli.options import AsOf, Config, Json, LakeFolder, open_lake, parse_moment
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json, print_table

# The catalog's tables `coverage` (one row per session) and `symbol_data` (one row per series).
QUERY = """
    select source, symbol, resolution,
           count(*) filter (where status not in ('closed', 'not_listed')) as sessions,
           sum(expected)::bigint as expected, sum(actual)::bigint as actual, sum(missing)::bigint as missing,
           sum(quarantined)::bigint as quarantined,
           count(*) filter (where status in ('failed', 'refused')) as bad_sessions,
           min(first_timestamp) as first, max(last_timestamp) as last,
           coalesce(any_value(bytes), 0)::bigint as bytes
    from coverage left join symbol_data using (source, symbol, resolution)
    group by source, symbol, resolution
    order by source, resolution, symbol
"""
# What fits into 80 columns; --json has the rest.
_HEADINGS = ("series", "", "expected", "actual", "missing", "first (UTC)", "last (UTC)", "size")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="Only this source.", show_default=False)
    ] = None,
    as_of: AsOf = None,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Show how complete every series is.

    Counts the bars that the calendar expects, those that are stored and those that are missing, and shows where each series begins
    and ends.
    """
    moment = parse_moment(as_of)
    rows = open_lake(config, lake).sql(QUERY, as_of=moment).to_dicts()
    if source is not None:
        rows = [row for row in rows if row["source"] == source]
    if as_json:
        print_json(rows)
        return ExitCode.OK
    print_status(rows)
    if not rows:
        note(
            f"nothing is stored{f' from {source}' if source else ''} yet"
            if moment is None
            else "nothing was known then"
        )
    elif any(row["missing"] for row in rows):
        note("`gb gaps` says what is missing and why")
    return ExitCode.OK


def print_status(rows: list[dict[str, Any]]) -> None:
    """The table of `gb status`; rows are those of `QUERY`."""
    body = [
        (
            f"{row['source']}:{row['symbol']}",
            row["resolution"],
            row["expected"],
            row["actual"],
            row["missing"],
            row["first"],
            row["last"],
            format_size(row["bytes"]),
        )
        for row in rows
    ]
    print_table(_HEADINGS, body)
