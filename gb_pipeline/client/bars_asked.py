"""Bars that a server answers, in the forms that `BarReader` has: what is not a plain frame is made of one here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from gb_pipeline.market.schema import Precision
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.execute import to_arrow

if TYPE_CHECKING:
    import pyarrow as pa


class BarsAsked(BarReader):
    """A reader whose `bars` come from elsewhere."""

    def scan_bars(self, *args: Any, **options: Any) -> pl.LazyFrame:
        """The same as a lazy frame. All of the bars are sent: what can be filtered is better said here, or in SQL."""
        return self.bars(*args, **options).lazy()

    def arrow(self, *args: Any, **options: Any) -> pa.Table:
        """The same as an Arrow table, with timestamps as `timestamp[ns, UTC]`.

        Raises:
            ReadError: a bar lies outside 1677 to 2262, where nanoseconds of 64 bits end; and what `bars` raises.
        """
        frame = self.bars(*args, **options)
        kinds = frame.schema.values()
        wide = any(isinstance(kind, pl.Decimal) and kind.precision != 18 for kind in kinds)
        precision = Precision.WIDE if wide else Precision.STANDARD
        return to_arrow(frame, precision, as_float=bool(options.get("as_float")))
