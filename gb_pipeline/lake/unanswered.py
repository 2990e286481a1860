"""This module finds stored bars of which a response says nothing: that it does not have them is no withdrawal."""

from __future__ import annotations

import polars as pl

from gb_pipeline.lake.bars_request import BarsRequest
from gb_pipeline.lake.merge import KEY
from gb_pipeline.quality.bars import ValidationResult


def find_unlisted(stored: pl.DataFrame, request: BarsRequest) -> pl.DataFrame:
    """Keys of stored rows outside their symbol's listing: they were not requested.

    Args:
        stored: rows of the window with their `session`.
        request: what was asked for, with the listings of its symbols.

    Returns:
        Columns `KEY`.
    """
    listings = [(code, *request.listings.get(code, (None, None))) for code in request.symbols]
    listings = [listing for listing in listings if listing[1:] != (None, None)]
    if not listings or stored.is_empty():
        return stored.clear()[KEY]
    kinds = {"symbol": pl.String(), "first": pl.Date(), "end": pl.Date()}
    stored_with_listing = stored.select(*KEY, "session").join(
        pl.DataFrame(listings, schema=kinds, orient="row"), on="symbol"
    )
    outside = (pl.col("session") < pl.col("first")).fill_null(False) | (pl.col("session") >= pl.col("end")).fill_null(
        False
    )
    return stored_with_listing.filter(outside).select(KEY)


def find_doubtful(stored: pl.DataFrame, validation: ValidationResult) -> pl.DataFrame:
    """Keys of stored rows of which the response does not tell whether the vendor still has them.

    They lie in a session that is refused, or its response has rows that may be of any day.

    Args:
        stored: rows of the window with their `session`.
        validation: of the response.

    Returns:
        Columns `KEY`.
    """
    if not validation.refused and not validation.refused_answers and validation.doubts.is_empty():
        return stored.clear()[KEY]
    kinds = {"symbol": pl.String(), "session": pl.Date()}
    sessions = pl.DataFrame(sorted(validation.refused), schema=kinds, orient="row")
    return pl.concat(
        [
            stored.join(sessions, on=["symbol", "session"], how="semi").select(KEY),
            stored.filter(pl.col("symbol").is_in(list(validation.refused_answers))).select(KEY),
            stored.join(validation.doubts, on="symbol")
            .filter(pl.col("session").is_between("first", "last"))
            .select(KEY)
            .unique(),
        ]
    )
