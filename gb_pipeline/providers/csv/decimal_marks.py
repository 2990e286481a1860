"""This module notices a file whose numbers have a decimal comma although nobody said so.

Most of such numbers cannot be read and are refused one by one. `1.234` can, as a thousandth of what is meant.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.schema import PRICES
from gb_pipeline.providers.csv.rows import Reading, Rows
from gb_pipeline.providers.csv.unreadable import Refusal

# A comma that is a decimal mark in any case: `12,5`, `1.234,5`; `1,234` may be thousands.
_COMMA = r"^[+-]?(?:\d{1,3}(?:\.\d{3})+,\d+|\d+,(?:\d{1,2}|\d{4,}))$"
# A point that is a decimal mark in any case, and one that is none where a comma is.
_POINT = r"^[+-]?\d*\.(?:\d{1,2}|\d{4,})$"
_THOUSANDS = r"^[+-]?\d{1,3}(?:\.\d{3})+$"


def refuse_decimal_comma(rows: Rows, where: str, reading: Reading) -> Refusal | None:
    """What is wrong with a text in which `1.234` would be read as one and a bit, and other numbers prove that it is not."""
    if reading.options.decimal_comma or reading.options.thousands or rows.frame.is_empty():
        return None
    columns = [rows.frame[name] for name in (*PRICES, "volume") if rows.frame.schema.get(name) == pl.String()]
    if not any(column.str.contains(",", literal=True).any() for column in columns):
        return None
    texts = pl.concat([column.alias("text") for column in columns]).drop_nulls().str.strip_chars()
    commas, misread = texts.filter(texts.str.contains(_COMMA)), texts.filter(texts.str.contains(_THOUSANDS))
    if commas.is_empty() or misread.is_empty() or texts.str.contains(_POINT).any():
        return None
    error = PermanentVendorError(
        f"numbers of {where} have a decimal comma, such as {commas[0]!r}; {misread[0]!r} would be read as a thousandth of itself",
        fix="set `decimal_comma: true`, and `thousands: '.'` where points group digits",
    )
    return Refusal(error, certain=True)
