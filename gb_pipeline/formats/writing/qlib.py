"""Qlib's binary files: a calendar, a list of instruments, and a file of float32 per instrument and field.

`features/<symbol>/<field>.<freq>.bin` holds little-endian float32: the place of the first value in `calendars/<freq>.txt`, then a
value for each moment from there on, NaN where there is none. Days are dates, shorter bars stamped at their open in the exchange's
time without a zone. Prices are adjusted and `factor` is what adjusted them: `close / factor` is the price as traded.

Source: `qlib/data/storage/file_storage.py` and `scripts/dump_bin.py` of Qlib 0.9.7.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.writing.base import AS_STORED, Converted, Exported, FormatWriter
from gb_pipeline.formats.writing.conversion import as_float_columns, read_back
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.resolution import Resolution

# Beyond it, float32 no longer has every integer, and the first number of a file is the place of its first value.
_LAST_PLACE = 2**24
_LENGTHS = {
    Resolution.MINUTE: "1min",
    Resolution.MINUTE_5: "5min",
    Resolution.MINUTE_15: "15min",
    Resolution.MINUTE_30: "30min",
}


class QlibWriter(FormatWriter):
    """Writes calendar, instruments and features."""

    resolutions: ClassVar = {Resolution.DAY: "day"} | _LENGTHS | {Resolution.HOUR: "60min"}
    alone: ClassVar = True
    needs_raw: ClassVar = True

    def __init__(self, market: str | None = None) -> None:
        """See `FormatWriter`."""
        super().__init__(market)
        self._moments: dict[str, pl.Series] = {}
        self._spans: dict[str, dict[str, tuple[str, str]]] = {}
        self._next: dict[str, int] = {}

    def adjustment_of(self, series: Exported) -> str:
        """For splits, where they are known."""
        return AS_STORED if series.actions is None else "splits"

    def place_of(self, series: Exported) -> str:
        """The folder of its fields; Qlib looks for it in lower case."""
        return f"features/{series.symbol.lower()} ({self.resolution_name(series)})"

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """The float32 that are nearest."""
        return Converted(bars, read_back(as_float_columns(bars, pl.Float32)))

    def inspect(self, series: Exported, bars: pl.DataFrame) -> None:
        """Collect the calendar and the span of each instrument."""
        frequency = self.resolution_name(series)
        stamps = _wall_times(bars["timestamp"], series)
        known = self._moments.get(frequency)
        merged = stamps if known is None else pl.concat([known, stamps])
        self._moments[frequency] = merged.unique().sort()
        texts = _texts(stamps.head(1).append(stamps.tail(1)), frequency)
        spans = self._spans.setdefault(frequency, {})
        first, _ = spans.get(series.symbol, (texts[0], ""))
        spans[series.symbol] = (first, texts[1])

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Append values of each field, each at its place in the calendar."""
        frequency = self.resolution_name(series)
        places = _as_int(self._moments[frequency].search_sorted(_wall_times(bars["timestamp"], series)))
        if places[-1] >= _LAST_PLACE:
            raise ConfigError(
                f"the calendar would have more than {_LAST_PLACE:,} moments, which Qlib's files cannot count",
                fix="choose a shorter range with --start and --end",
            )
        begin = self._next.get(series.name)
        values = as_float_columns(bars, pl.Float32).with_columns(_factors(bars))
        first = int(places[0]) if begin is None else begin
        length = int(places[-1]) - first + 1
        for name in values.columns:
            dense = np.full(length, np.nan, dtype="<f4")
            dense[places - first] = values[name].to_numpy()
            body = dense if begin is not None else np.concatenate([np.array([first], dtype="<f4"), dense])
            path = folder.path(f"features/{series.symbol.lower()}/{name}.{frequency}.bin", series.name)
            with path.open("ab") as file:
                file.write(body.tobytes())
        self._next[series.name] = int(places[-1]) + 1

    def finish(self, folder: StagedFolder) -> None:
        """Write the calendars and the instruments."""
        spans: dict[str, list[tuple[str, str]]] = {}
        for frequency, moments in self._moments.items():
            lines = _texts(moments, frequency)
            folder.path(f"calendars/{frequency}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
            for symbol, span in self._spans[frequency].items():
                spans.setdefault(symbol, []).append(span)
        lines = [
            f"{symbol}\t{min(first for first, _ in found)}\t{max(last for _, last in found)}"
            for symbol, found in sorted(spans.items())
        ]
        folder.path("instruments/all.txt").write_text("\n".join(lines) + "\n", encoding="ascii")

    def notes(self, series: Exported) -> list[str]:
        """What `factor` says."""
        if series.adjustment in {AS_STORED, "none"}:
            return ["factor is 1: prices are not adjusted"]
        return []


def _wall_times(stamps: pl.Series, series: Exported) -> pl.Series:
    """Stamps in the exchange's time, without a zone. No exchange trades on a Sunday night, when clocks are put back."""
    zone = series.calendar.zone.key if series.resolution.intraday else "UTC"
    return stamps.dt.convert_time_zone(zone).dt.replace_time_zone(None)


def _texts(stamps: pl.Series, frequency: str) -> list[str]:
    return stamps.dt.strftime("%Y-%m-%d" if frequency == "day" else "%Y-%m-%d %H:%M:%S").to_list()


def _factors(bars: pl.DataFrame) -> pl.Series:
    """Adjusted close by the close as traded; 1 where both are the same, or 0."""
    close = bars.select(pl.col("close").cast(pl.Float64), pl.col("raw_close").cast(pl.Float64))
    ratio = pl.when(pl.col("raw_close") == 0).then(1.0).otherwise(pl.col("close") / pl.col("raw_close"))
    return close.select(ratio.cast(pl.Float32).alias("factor")).to_series()


def _as_int(series: pl.Series) -> npt.NDArray[np.int64]:
    return series.cast(pl.Int64).to_numpy()
