"""This module has the time axis of trades, quotes and books: the moment of a row, in ns since 1970 UTC.

Files are found by it (`timestamp`, the same in microseconds), evidence lies on it, and readers' windows are of it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

# No exchange's clock is further from whoever hears it: a time beyond is not the event's.
MOST_APART = 86_400 * 10**9
NANOSECOND_INSTANT = pl.Datetime("ns", "UTC")


def event_time() -> pl.Expr:
    """The exchange's time where it says one that is within a day of ours, else ours.

    Returns:
        Int64, of the columns `exchange_time` and `receive_time`; null where both are.

    Example:
        >>> rows = pl.DataFrame({"exchange_time": [5, None], "receive_time": [7, 9]})
        >>> rows.select(event_time().alias("moment"))["moment"].to_list()
        [5, 9]
    """
    exchange, ours = pl.col("exchange_time"), pl.col("receive_time")
    far = ((exchange - ours).abs() > MOST_APART).fill_null(False)
    return pl.when(exchange.is_null() | far).then(ours).otherwise(exchange)


def event_times(rows: pl.DataFrame) -> pl.Series:
    """The same of a whole frame, named `event_time`; where every exchange's time counts, that column itself, without a copy."""
    exchange, ours = rows.get_column("exchange_time"), rows.get_column("receive_time")
    unheard = ours.null_count() == len(ours)
    if not exchange.null_count() and (unheard or not ours.null_count()):
        apart = np.zeros(1, np.int64) if unheard else exchange.to_numpy() - ours.to_numpy()
        if apart.max() <= MOST_APART and apart.min() >= -MOST_APART:
            return exchange.alias("event_time")
    return rows.select(event_time().alias("event_time")).to_series()
