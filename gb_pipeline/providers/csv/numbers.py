"""This module turns a field into the plain text of a number: exact arithmetic on text, never on floats.

Numbers are validated by `quality`; what cannot be read here comes out as a text that it refuses by name.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.market.schema import PRICES
from gb_pipeline.providers.csv.lines import field
from gb_pipeline.providers.csv.options import CsvOptions

_SCALED = (*PRICES, "vwap", "ask_close")
# Decimal places that a letter behind a number moves the point by.
_SUFFIXES = {"K": 3, "M": 6, "B": 9, "T": 12}
# Blanks and apostrophes that vendors group digits with, beside the plain ones.
_LOOKALIKES = {" ": "[\u00a0\u202f\u2009]", "'": "[\u2019\u02bc]"}
# What is there but is no number under these options must not be taken for an absent one, nor for another number.
UNREADABLE = "unreadable: "


def number(name: str, position: int, options: CsvOptions) -> pl.Expr:
    """The text of a number as `quality.exact` reads it.

    Args:
        name: ours, such as `close`: only prices have a scale.
        position: of the field, in a frame with `fields` and `whole`.
        options: with the preset filled in.

    Returns:
        String: null where the line says nothing there or has another number of fields than it should; `UNREADABLE` and the
        text where it cannot be read under these options.
    """
    text = field(position)
    text = pl.when(pl.col("whole") & ~text.is_in(options.null_values)).then(text)
    plain: pl.Expr = text
    if options.thousands is not None:
        plain = _without_thousands(plain, options.thousands, "," if options.decimal_comma else ".")
    if options.decimal_comma:
        # A point could only group thousands here: read as a decimal point it would be a thousand times less.
        plain = pl.when(~plain.str.contains(".", literal=True)).then(plain.str.replace(",", ".", literal=True))
    if options.suffixes:
        plain = _without_suffix(plain)
    if options.price_scale != 1 and name in _SCALED:
        plain = _shift(plain, len(str(options.price_scale)) - 1)
    return text if plain is text else pl.coalesce(plain, pl.lit(UNREADABLE) + text)


def _without_thousands(text: pl.Expr, separator: str, point: str) -> pl.Expr:
    """Null where the groups are not of three digits: `1,23` is no number of thousands."""
    if separator in _LOOKALIKES:
        text = text.str.replace_all(_LOOKALIKES[separator], separator)
    group, dot = (f"[{sign}]" for sign in (separator, point))
    form = rf"^[+-]?(?:[0-9]{{1,3}}(?:{group}[0-9]{{3}})+|[0-9]+)(?:{dot}[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*[A-Za-z]?$"
    return pl.when(text.str.contains(form)).then(text.str.replace_all(separator, "", literal=True))


def _without_suffix(text: pl.Expr) -> pl.Expr:
    """`58.41M` as `58410000`; what has no letter behind it stays."""
    parts = text.str.extract_groups(r"^([+-]?)([0-9]*)(?:\.([0-9]*))?\s*([KkMmBbTt])$").struct
    letter = parts.field("4").str.to_uppercase()
    shifted: pl.Expr = text
    for suffix, places in _SUFFIXES.items():
        fraction = parts.field("3").fill_null("")
        moved = pl.concat_str(parts.field("2"), fraction.str.pad_end(places, "0").str.head(places))
        rest = fraction.str.slice(places)
        moved = pl.when(rest == "").then(moved).otherwise(pl.concat_str(moved, pl.lit("."), rest))
        some_digit = parts.field("2").str.len_chars() + fraction.str.len_chars() > 0
        signed = pl.when(some_digit).then(pl.concat_str(parts.field("1"), moved))
        shifted = pl.when(letter == suffix).then(signed).otherwise(shifted)
    return shifted


def _shift(text: pl.Expr, places: int) -> pl.Expr:
    parts = text.str.extract_groups(r"^([+-]?)([0-9]+)(?:\.([0-9]*))?$")
    digits = parts.struct.field("2").str.zfill(places + 1)
    fraction = pl.concat_str(digits.str.tail(places), parts.struct.field("3").fill_null("")).str.strip_chars_end("0")
    whole = digits.str.head(-places)
    shifted = pl.when(fraction == "").then(whole).otherwise(pl.concat_str(whole, pl.lit("."), fraction))
    return pl.concat_str(parts.struct.field("1"), shifted)
