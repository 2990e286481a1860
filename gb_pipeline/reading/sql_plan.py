"""This module says which files an SQL query would open, and how DuckDB would run it.

DuckDB hands its filters to a table when it begins to scan it. So the query runs on tables without rows, which note what they are
asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.reading.sql_tables import SqlTables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCANS = pl.Schema(
    {
        "table": pl.String(),
        # How many files hold such rows as the query reads, and how many of them it would open.
        "files": pl.Int64(),
        "of_files": pl.Int64(),
        "bytes": pl.Int64(),
        "of_bytes": pl.Int64(),
        "rows": pl.Int64(),
        "columns": pl.List(pl.String()),
    }
)


@dataclass(frozen=True, slots=True)
class SqlPlan:
    """What a query would read.

    Attributes:
        scans: a row for each time that it reads a table of the lake, columns of `SCANS`: the files that it would open, of how many
            (those of newest rows, unless it looks into history), their size in bytes and their rows, and the columns that it would
            decode. Within a file, row groups that cannot match are left out. The catalog's own tables are not among them.
        steps: DuckDB's plan as text, the last step at the top.
    """

    scans: pl.DataFrame
    steps: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"scans": self.scans.to_dicts(), "plan": self.steps.splitlines()}


def make_plan(connection: DuckDBPyConnection, text: str, tables: SqlTables) -> SqlPlan:
    """Run a query on tables without rows.

    Args:
        connection: on which `tables` are registered.
        text: a query that `sql_guard` has let through.
        tables: made with `only_asked`.
    """
    steps = connection.execute(f"explain {text}").fetchall()[0][1]
    connection.sql(text).to_arrow_reader().read_all()
    rows = []
    for dataset in tables.datasets.values():
        whole = dataset.pruner.files
        for scan in dataset.scans:
            found = scan.files
            sums = [found.height, whole.height, *(int(files["size"].sum()) for files in (found, whole))]
            rows.append((dataset.pruner.dataset.name, *sums, int(found["rows"].sum()), list(scan.columns)))
    return SqlPlan(pl.DataFrame(rows, SCANS, orient="row").sort("table", maintain_order=True), steps.rstrip())
