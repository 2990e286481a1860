"""freqtrade's candles: a file per pair and timeframe, of float64, as Feather or JSON.

Stamps are the opens of the candles in UTC (milliseconds). Files lie in the folder of an exchange, `user_data/data/<exchange>`: spot
pairs as `BTC_USDT-1h.feather`, perpetual swaps as `futures/BTC_USDT_USDT-1h-futures.feather`.

Source: `freqtrade/data/history/datahandlers` (`idatahandler`, `featherdatahandler`, `jsondatahandler`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.writing.base import NUMBERS, Converted, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import as_float_columns, read_back
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.resolution import Resolution

if TYPE_CHECKING:
    import pyarrow as pa

_PAIR = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)(-PERP)?")


class FreqtradeWriter(FormatWriter):
    """Writes Feather, freqtrade's default."""

    resolutions: ClassVar = {
        item: item.value for item in Resolution if item not in {Resolution.TICK, Resolution.MONTH}
    } | {Resolution.MONTH: "1Mo"}
    suffix: ClassVar = "feather"

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._open: dict[str, pa.ipc.RecordBatchFileWriter] = {}

    def place_of(self, series: Exported) -> str:
        """The file of a pair."""
        pair = _PAIR.fullmatch(series.symbol)
        if pair is None:
            raise ConfigError(
                f"{series.name} is not a pair, and freqtrade trades pairs only", fix="export pairs such as BTC-USDT"
            )
        base, quote, perpetual = pair.groups()
        timeframe = self.resolution_name(series)
        if perpetual:
            return f"futures/{base}_{quote}_{quote}-{timeframe}-futures.{self.suffix}"
        return f"{base}_{quote}-{timeframe}.{self.suffix}"

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """The floats that are nearest."""
        return Converted(bars, read_back(as_float_columns(bars, pl.Float64)))

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Append a batch of rows."""
        import pyarrow as pa

        table = pa.table(_candles(bars).to_arrow().cast(_arrow_schema()))
        if series.name not in self._open:
            path = folder.path(self.place_of(series), series.name)
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._open[series.name] = pa.ipc.new_file(path, table.schema, options=options)
        self._open[series.name].write_table(table)

    def end(self, series: Exported, folder: StagedFolder) -> None:
        """Close the file."""
        if series.name in self._open:
            self._open.pop(series.name).close()


def _candles(bars: pl.DataFrame) -> pl.DataFrame:
    dates = bars["timestamp"].cast(pl.Datetime("ms", "UTC")).alias("date")
    return as_float_columns(bars, pl.Float64).select(dates, *NUMBERS)


def _arrow_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([("date", pa.timestamp("ms", "UTC")), *((name, pa.float64()) for name in NUMBERS)])


class FreqtradeJsonWriter(FreqtradeWriter):
    """Writes JSON: rows of milliseconds, open, high, low, close and volume."""

    suffix: ClassVar = "json"

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._files: dict[str, tuple[Path, int]] = {}

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Append rows."""
        is_first = series.name not in self._files
        path = folder.path(self.place_of(series), series.name)
        self._files[series.name] = (path, 1)
        rows = as_float_columns(bars, pl.Float64).select(
            pl.concat_str(pl.lit("["), bars["timestamp"].dt.epoch("ms").cast(pl.String), *_number_texts(), pl.lit("]"))
        )
        with path.open("a", encoding="ascii") as file:
            file.write("[" if is_first else ",")
            file.write(",".join(rows.to_series().to_list()))

    def end(self, series: Exported, folder: StagedFolder) -> None:
        """Close the list."""
        if series.name in self._files:
            path, _ = self._files.pop(series.name)
            with path.open("a", encoding="ascii") as file:
                _close_list(file)


def _number_texts() -> list[pl.Expr]:
    return [part for name in NUMBERS for part in (pl.lit(","), pl.col(name).cast(pl.String))]


def _close_list(file: IO[str]) -> None:
    file.write("]")
