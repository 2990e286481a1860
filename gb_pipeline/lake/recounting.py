"""This module counts recorded sessions anew after rows of them were released, or a release was taken back.

What their last fetch said stays as it was recorded: why other bars are missing, which calendar expected them, when it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.quality.coverage_model import find_absences
from gb_pipeline.quality.gaps import GAPS, REASONS, compare_recorded

_SESSION = ["symbol", "session"]
_GAPS = pl.Schema({name: kind for name, kind in GAPS.items() if name not in _SESSION})
# Of what the bars say, whoever wrote them.
_OF_BARS = ("actual", "withdrawn", "fingerprint", "first_timestamp", "last_timestamp", "precision", "table_version")


def recount(
    described: pl.DataFrame, recorded: pl.DataFrame, bars: pl.DataFrame, grid: pl.DataFrame, decided: pl.DataFrame
) -> pl.DataFrame:
    """Rows of the ledger of the sessions of one series that hold decided rows.

    Args:
        described: rows of the ledger as the bars after the write give them.
        recorded: what the ledger holds of their sessions.
        bars: `symbol`, `session`, `timestamp` of everything that they hold after the write.
        grid: `session`, `timestamp`, `end` of what the calendar expects of them.
        decided: `symbol`, `session` of the decided rows, and `refused`: -1 where it is released, 1 where it is refused again.

    Returns:
        The columns of `described`.
    """
    changes = decided.group_by(_SESSION).agg(pl.col("refused").sum())
    touched = described.join(changes, on=_SESSION, maintain_order="left")
    known = recorded.select(*_SESSION, *(name for name in described.columns if name not in {*_SESSION, *_OF_BARS}))
    new = touched.join(known, on=_SESSION, how="anti", maintain_order="left").select(described.columns)
    if known.is_empty():
        return new
    both = touched.select(*_SESSION, *_OF_BARS, "refused").join(known, on=_SESSION, maintain_order="left")
    absences = [_find_absences(row, bars, grid) for row in both.select(*_SESSION, "gaps").iter_rows(named=True)]
    return pl.concat([new, _name_status(both, pl.concat(absences)).select(described.columns)]) if absences else new


def _find_absences(row: Mapping[str, Any], bars: pl.DataFrame, grid: pl.DataFrame) -> pl.DataFrame:
    """The gaps of one session, each with the reason that it has in the ledger."""
    of_session = pl.col("session") == row["session"]
    expected = grid.filter(of_session).with_columns(pl.lit(row["symbol"], pl.String).alias("symbol"))
    recorded = pl.DataFrame(
        row["gaps"],
        schema={
            "start": pl.Datetime("us", "UTC"),
            "end": pl.Datetime("us", "UTC"),
            "missing": pl.Int64,
            "reason": pl.String,
        },
    )
    return find_absences(compare_recorded(expected, bars.filter(of_session), recorded), REASONS)


def _name_status(both: pl.DataFrame, absences: pl.DataFrame) -> pl.DataFrame:
    gaps = absences.group_by(_SESSION, maintain_order=True).agg(
        pl.struct("start", "end", "missing", "reason").alias("gaps"), pl.col("missing").sum().alias("missing")
    )
    counted = both.drop("gaps", "missing").join(gaps, on=_SESSION, how="left", maintain_order="left")
    refused, actual = SessionStatus.REFUSED.value, pl.col("actual")
    status = (
        pl.when(pl.col("missing") == 0, actual > 0)
        .then(pl.lit(SessionStatus.COMPLETE.value))
        .when((pl.col("status") == refused) | (actual == 0))
        .then(pl.lit(refused))
        .otherwise(pl.lit(SessionStatus.PARTIAL.value))
    )
    return counted.with_columns(pl.col("gaps").fill_null([]), pl.col("missing").fill_null(0)).with_columns(
        status.alias("status"),
        (pl.col("quarantined") + pl.col("refused")).clip(lower_bound=0).alias("quarantined"),
        pl.col("gaps").cast(both.schema["gaps"]),
    )
