"""This module asks everything that may be wrong with a text as a whole, in one order for reading a file and for looking into it."""

from __future__ import annotations

from gb_pipeline.providers.csv.decimal_marks import refuse_decimal_comma
from gb_pipeline.providers.csv.rows import Reading, Rows
from gb_pipeline.providers.csv.unreadable import Refusal, refuse_disordered, refuse_unreadable


def refuse_text(rows: Rows, where: str, reading: Reading, limit: float) -> Refusal | None:
    """The first thing that is wrong with a text as a whole; None where nothing is.

    Args:
        rows: what the text says.
        where: the file, for messages.
        reading: how it was read.
        limit: the share of lines without a readable stamp that the source puts up with.
    """
    return (
        refuse_unreadable(rows, where, reading, limit)
        or refuse_disordered(rows, where, reading)
        or refuse_decimal_comma(rows, where, reading)
    )
