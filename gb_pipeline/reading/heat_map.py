"""A heat map of what is stored: a row per symbol, a column per session, and how each of them is. Only the ledger is read.

`png` draws it for pages, and `gb status --plot` in a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import UnknownSeries
from gb_pipeline.lake.newest_days import find_start
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.gaps import OPEN_REASONS

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_OPEN = [reason.value for reason in OPEN_REASONS]


class Cell(IntEnum):
    """How a series is in a session; of several that share a cell the worst counts, which is the largest."""

    NEVER = 0
    """Nothing is known of it."""
    NO_SESSION = 1
    """Closed, not listed, or removed on purpose."""
    COMPLETE = 2
    EXPLAINED = 3
    """Bars are missing, for a reason."""
    OPEN = 4
    """Bars are missing, and nothing explains it."""
    NOT_STORED = 5
    """Failed or refused."""


@dataclass(frozen=True)
class HeatMap:
    """What is stored of one source and resolution.

    Attributes:
        symbols: labels of the rows; the first of each group where several share a row.
        sessions: labels of the columns, dates as text; the first of each group.
        rows: a row of cells (values of `Cell`) per symbol.
        counts: sessions by kind of cell, before any were put together.
    """

    symbols: Sequence[str]
    sessions: Sequence[str]
    rows: Sequence[bytes] = field(repr=False)
    counts: dict[Cell, int]


def read_heat_map(
    lake: Lake,
    source: str,
    resolution: Resolution | str,
    symbols: Sequence[str] | None = None,
    *,
    days: int | None = None,
    columns: int = 720,
    rows: int = 400,
) -> HeatMap | None:
    """The heat map of a source; None where nothing of it is recorded.

    Args:
        symbols: the rows; all that are recorded by default. One that nothing is known of has a row as well.
        days: only so many days until the newest session that is recorded.
        columns, rows: more sessions or symbols than these share columns or rows.

    Example:
        >>> read_heat_map(lake, "coinbase", "1m").counts[Cell.OPEN]
        0
    """
    of = (source, None, Resolution.parse(str(resolution)))
    try:
        coverage = lake.coverage(*of, start=None if days is None else find_start(lake.store.tables, of[0], of[2], days))
    except UnknownSeries:
        return None
    names = sorted(coverage["symbol"].unique() if symbols is None else symbols)
    coverage = coverage.filter(pl.col("symbol").is_in(names))
    if coverage.is_empty():
        return None
    gaps = lake.gaps(*of, start=str(coverage["session"].min())).filter(pl.col("reason").is_in(_OPEN))
    unexplained = gaps.group_by("symbol", "session").agg(pl.col("missing").sum().alias("open"))
    known = coverage.join(unexplained, on=["symbol", "session"], how="left").select("symbol", "session", cell=_cell())
    sessions = coverage["session"].unique().sort()
    across, down = -(-len(sessions) // columns), -(-len(names) // rows)
    # Every pair has a cell, also those of which nothing is known.
    grid = (
        pl.DataFrame({"symbol": names})
        .with_row_index("row")
        .join(sessions.to_frame().with_row_index("column"), how="cross")
        .join(known, on=["symbol", "session"], how="left")
        .with_columns(pl.col("cell").fill_null(Cell.NEVER))
    )
    counted = dict(grid.group_by("cell").len().iter_rows())
    cells = (
        grid.group_by(pl.col("row") // down, pl.col("column") // across)
        .agg(pl.col("cell").max())
        .sort("row", "column")
        .group_by("row", maintain_order=True)
        .agg("cell")
    )
    return HeatMap(
        symbols=names[::down],
        sessions=[str(day) for day in sessions.gather_every(across)],
        rows=[bytes(row) for row in cells["cell"].to_list()],
        counts={cell: counted.get(cell.value, 0) for cell in Cell},
    )


def _cell() -> pl.Expr:
    status = pl.col("status")
    return (
        pl.when(status.is_in(UNSTORED))
        .then(pl.lit(Cell.NOT_STORED.value))
        .when(status.is_in(["closed", "not_listed", "removed"]))
        .then(pl.lit(Cell.NO_SESSION.value))
        .when(pl.col("open") > 0)
        .then(pl.lit(Cell.OPEN.value))
        .when(pl.col("missing") > 0)
        .then(pl.lit(Cell.EXPLAINED.value))
        .otherwise(pl.lit(Cell.COMPLETE.value))
        .cast(pl.UInt8)
    )
