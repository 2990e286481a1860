"""Who stood under a symbol: where a ticker was lent to somebody else, no row sees bars or reports of who had it before or after.

What a lake knows of instruments decides. A day on which nobody is known to stand under a symbol belongs to who comes next; where
no two instruments are known to have had a symbol, the symbol itself is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from gb_pipeline.lake import instruments
from gb_pipeline.market.symbology import RANK, believed
from gb_pipeline.reading.lake import Lake

SINCE, UNTIL = "holder_since", "holder_until"


@dataclass(frozen=True)
class Holders:
    """When symbols changed hands.

    Attributes:
        changes: by symbol, the first days of those who came after somebody else, in order; symbols of one holder are left out.
    """

    changes: Mapping[str, tuple[date, ...]]

    @classmethod
    def of(cls, lake: Lake, symbols: Sequence[str], source: str | None, as_of: datetime | None) -> Holders:
        """Of some symbols, as a lake knows it, or knew it at a moment.

        Args:
            source: whose symbols are meant; None for any.
        """
        rows = instruments.read(lake.store.tables, as_of=as_of)
        if rows.is_empty():
            return cls({})
        order = [fact.name for fact in lake.source_facts]
        own = believed(rows, source, order).filter(pl.col("symbol").is_in(list(symbols)))
        parts = own.partition_by("symbol", as_dict=True)
        changes = {str(code): _changes(stays) for (code,), stays in parts.items()}
        return cls({code: days for code, days in changes.items() if days})

    def with_spans(self, rows: pl.DataFrame, day: str) -> pl.DataFrame:
        """Rows of symbols, with the first day of who stood under each one on its day, and of who came next.

        Args:
            rows: with `symbol` (String).
            day: the column of days (Date).

        Returns:
            The same rows in their order, and `holder_since`, `holder_until` (Date); null where nobody came before, or after.
        """
        pairs = [(symbol, change) for symbol, own in self.changes.items() for change in own]
        changes = pl.DataFrame(pairs, schema={"symbol": pl.String(), SINCE: pl.Date()}, orient="row").sort(SINCE)
        return (
            rows.with_row_index("row of spans")
            .sort(day, maintain_order=True)
            .join_asof(changes, left_on=day, right_on=SINCE, by="symbol", coalesce=False, check_sortedness=False)
            .join_asof(
                changes.rename({SINCE: UNTIL}), left_on=day, right_on=UNTIL, by="symbol", strategy="forward",
                allow_exact_matches=False, coalesce=False, check_sortedness=False,
            )
            .sort("row of spans")
            .drop("row of spans")
        )  # fmt: skip


def _changes(stays: pl.DataFrame) -> tuple[date, ...]:
    """The days on which another instrument came to stand under one symbol."""
    # Of several that begin on one day the last one counts, who is believed most.
    ordered = stays.sort("valid_from", RANK, descending=[False, True])
    found: set[date] = set()
    holder: str | None = None
    ended: date | None = None
    for instrument, begins, until in ordered.select("instrument", "valid_from", "valid_until").rows():
        if holder is not None and instrument != holder:
            found.add(begins if ended is None else min(begins, ended))
        holder, ended = instrument, until
    return tuple(sorted(found))
