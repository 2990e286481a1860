"""NautilusTrader's Parquet catalog, as version 1.221 writes it in high precision.

`data/bar/<bar type>/<first>_<last>.parquet` holds prices and sizes as little-endian integers of 128 bits, times 10**16, and two
stamps in nanoseconds of UTC. A bar is stamped at its close, as Nautilus wants it (`ts_event` and `ts_init`): at the session's
close for days. How many decimals to show, and the bar type, are in the file's metadata. Instruments are not data of a lake: a
strategy adds its own.

Source: `nautilus_trader/persistence/catalog/parquet.py` and `serialization/arrow/schema.py`, version 1.221.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from gb_pipeline.formats.writing.base import NUMBERS, Converted, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import most_decimals, rounded
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet

_DECIMALS = 16
# Nautilus' own limits of prices and of sizes.
_LARGEST = {**dict.fromkeys(PRICES, 17_014_118_346_046), "volume": 34_028_236_692_093}
_ROWS_PER_GROUP = 5_000
_UNITS = {"s": "SECOND", "m": "MINUTE", "h": "HOUR", "d": "DAY", "w": "WEEK", "mo": "MONTH"}


def _bar_specification(resolution: Resolution) -> str:
    digits = resolution.rstrip("smhdwo")
    return f"{digits}-{_UNITS[resolution.removeprefix(digits)]}-LAST-EXTERNAL"


class NautilusWriter(FormatWriter):
    """Writes a file of bars per series."""

    resolutions: ClassVar = {item: _bar_specification(item) for item in Resolution if item is not Resolution.TICK}
    alone: ClassVar = True

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._decimals: dict[str, tuple[int, int]] = {}
        self._ends: dict[str, tuple[int, int]] = {}
        self._open: dict[str, pa.parquet.ParquetWriter] = {}

    def place_of(self, series: Exported) -> str:
        """The folder of a bar type."""
        return f"data/bar/{self._bar_type(series)}"

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """Bars since 1970 of numbers that Nautilus has; sixteen decimals of them."""
        closes = series.calendar.bar_ends(bars["timestamp"], series.resolution).alias("close_time")
        bars = bars.with_columns(closes)
        reasons = {
            "before 1970": pl.col("timestamp").dt.epoch("us") < 0,
            "a day without a session has no close": pl.col("close_time").is_null(),
            "a number above Nautilus' largest": pl.any_horizontal(
                pl.col(name).abs() > limit for name, limit in _LARGEST.items()
            ),
        }
        left_out = {}
        for reason, condition in reasons.items():
            stamps = bars.filter(condition)["timestamp"]
            if len(stamps):
                left_out[reason] = stamps
                bars = bars.filter(~condition)
        return Converted(bars, rounded(bars, _DECIMALS, *NUMBERS), left_out)

    def inspect(self, series: Exported, bars: pl.DataFrame) -> None:
        """Find the decimals of the whole series, and its first and last stamp."""
        rounded_bars = rounded(bars, _DECIMALS, *NUMBERS)
        prices, sizes = self._decimals.get(series.name, (0, 0))
        self._decimals[series.name] = (
            min(most_decimals(rounded_bars, PRICES, prices), _DECIMALS),
            min(most_decimals(rounded_bars, ("volume",), sizes), _DECIMALS),
        )
        stamps = bars["close_time"].dt.epoch("ns")
        first, _ = self._ends.get(series.name, (stamps[0], 0))
        self._ends[series.name] = (first, stamps[-1])

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Append row groups."""
        import pyarrow.parquet

        if series.name not in self._open:
            first, last = self._ends[series.name]
            name = f"{self.place_of(series)}/{file_time(first)}_{file_time(last)}.parquet"
            path = folder.path(name, series.name)
            self._open[series.name] = pyarrow.parquet.ParquetWriter(path, self._schema(series))
        table = _table(bars, self._schema(series))
        self._open[series.name].write_table(table, row_group_size=_ROWS_PER_GROUP)

    def end(self, series: Exported, folder: StagedFolder) -> None:
        """Close the file."""
        if series.name in self._open:
            self._open.pop(series.name).close()

    def _instrument(self, series: Exported) -> str:
        return f"{series.symbol}.{(self.market or series.source).upper()}"

    def _bar_type(self, series: Exported) -> str:
        return f"{self._instrument(series)}-{self.resolution_name(series)}"

    def _schema(self, series: Exported) -> pa.Schema:
        import pyarrow as pa

        prices, sizes = self._decimals[series.name]
        fields = [pa.field(name, pa.binary(16), nullable=False) for name in NUMBERS]
        stamps = [pa.field(name, pa.uint64(), nullable=False) for name in ("ts_event", "ts_init")]
        return pa.schema(
            [*fields, *stamps],
            metadata={
                "bar_type": self._bar_type(series),
                "instrument_id": self._instrument(series),
                "price_precision": str(prices),
                "size_precision": str(sizes),
            },
        )


def _table(bars: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    values = rounded(bars, _DECIMALS, *NUMBERS).select(pl.col(NUMBERS).cast(pl.Decimal(38, _DECIMALS))).rechunk()
    columns = []
    for name in NUMBERS:
        # Arrow's decimals of 128 bits are these integers already.
        array = values[name].to_arrow()
        columns.append(
            pa.Array.from_buffers(pa.binary(16), len(array), [None, array.buffers()[1]], offset=array.offset)
        )
    stamps = bars["close_time"].dt.epoch("ns").cast(pl.UInt64).to_arrow()
    return pa.Table.from_arrays([*columns, stamps, stamps], schema=schema)


def file_time(nanoseconds: int) -> str:
    """A moment in the name of a file: `2024-01-02T00-01-00-000000000Z`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H-%M-%S}-{rest:09d}Z"
