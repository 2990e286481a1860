"""This module keeps what services of identifiers answered, so that asking again costs nothing. What it means is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from gb_pipeline.lake.datasets import IDENTIFIER_ANSWERS
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.table import Tables


def read(tables: Tables, source: str) -> dict[str, str]:
    """The newest answer to each question, by question."""
    files = tables.newest(IDENTIFIER_ANSWERS.name).select({"source": source})
    rows = reading.read(tables.storage, IDENTIFIER_ANSWERS, files).sort("fetched_at", KNOWN_AT)
    return dict(rows.unique("question", keep="last", maintain_order=True).select("question", "answer").iter_rows())


def record(tables: Tables, source: str, answers: Mapping[str, str], fetched_at: datetime, clock: Clock) -> None:
    """Append answers, by question, in one commit."""
    if not answers:
        return
    rows = pl.DataFrame({"question": list(answers), "answer": list(answers.values())}).select(
        pl.lit(source).alias("source"), "question", "answer",
        pl.lit(fetched_at, IDENTIFIER_ANSWERS.polars["fetched_at"]).alias("fetched_at"),
    )  # fmt: skip
    append.append(tables[IDENTIFIER_ANSWERS.name], rows, clock=clock)
