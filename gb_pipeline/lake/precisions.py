"""This module unites a table of bars with its sibling of wide decimals.

A series that went wide goes on in the wide table, and a wide row hides the standard one at the same key: whoever reads both has to
leave the hidden rows out. The same rule as SQL is in `catalog.views`; with the moments at which rows were hidden, in `versions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import polars as pl

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)


def unite(wide: Rows, standard: Rows, key: Sequence[str]) -> Rows:
    """Wide rows, and after them the standard rows that none of them hides.

    Args:
        wide: rows of the wide table.
        standard: rows of its sibling, which have the same columns, in narrower types.
        key: columns that say which bar a row is.

    Returns:
        The columns of `wide`, in its types and order.

    Example:
        >>> wide = pl.DataFrame({"timestamp": [1], "close": ["1.0"]})
        >>> unite(wide, pl.DataFrame({"timestamp": [1, 2], "close": [1, 2]}), ["timestamp"])["close"].to_list()
        ['1.0', '2']
    """
    types = wide.collect_schema()
    shown = standard.select(types.names()).cast(types).join(wide.select(key), on=list(key), how="anti")
    return pl.concat([wide, shown])
