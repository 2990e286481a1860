"""Bars as they were known at a moment.

Belongs here: combining what is stored now with content that was replaced since. Bars that arrived later are not there;
bars that were restated later have their old content. Delta's own time travel is not used, so vacuuming loses no history.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import polars as pl

from gb_pipeline.lake import restatements
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.schema import CONTENT
from gb_pipeline.reading.plan import EARLIEST, LATEST, Part, Plan, Question


def as_known(tables: Tables, question: Question, plan: Plan, moment: datetime) -> Plan:
    """The plan with each part as it was known at `moment`.

    The plan's files must have been listed before: a writer records a restatement before it replaces the bar, so this order
    never misses one. Where a writer was between the two, or died there, both have the bar: the stored one is taken.
    """
    window = question.window
    between = None if (window.start, window.end) == (EARLIEST, LATEST) else (window.start, window.end)
    recorded = restatements.read(
        tables, question.source, question.resolution, list(question.symbols) or None, between
    ).filter((pl.col("first_known") <= moment) & (pl.col("replaced_at") > moment))
    return replace(plan, parts=tuple(_part(part, recorded, plan.schema, moment) for part in plan.parts))


def _part(part: Part, recorded: pl.DataFrame, types: pl.Schema, moment: datetime) -> Part:
    current = part.rows.filter(pl.col("known_at") <= moment)
    superseded = recorded.filter(pl.col("source") == part.source)
    if part.symbol is not None:
        superseded = superseded.filter(pl.col("symbol") == part.symbol)
    if superseded.is_empty():
        return replace(part, rows=current)
    columns = part.rows.collect_schema().names()
    old = (
        superseded.lazy()
        .select(
            *([] if part.symbol is not None else ["symbol"]),
            "timestamp",
            *(pl.col(f"old_{name}").alias(name) for name in CONTENT),
            pl.col("first_known").alias("known_at"),
        )
        .select(columns)
        .cast({name: types[name] for name in columns})
    )
    key = ["timestamp"] if part.symbol is not None else ["symbol", "timestamp"]
    # Of several recordings of one bar at one moment any will do: they are the same content.
    once = old.unique(key, keep="first")
    return replace(part, rows=pl.concat([current, once.join(current.select(key), on=key, how="anti")]))
