"""Answers of a remote lake that are more than one table: asked for in parts, and put together here as `Lake` does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from gb_pipeline.client.arguments import to_document
from gb_pipeline.client.transport import Transport
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.fingerprints import combine_series, combine_sessions
from gb_pipeline.lake.pins import Pin
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment, Symbols
from gb_pipeline.reading.bar_comparison import BarComparison, compare_with_trades
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.fingerprints import Fingerprint
from gb_pipeline.reading.sql_plan import SqlPlan
from gb_pipeline.reading.stream_evidence import moments_of, window_length

# So many moments fit into one request.
_MOMENTS = 30_000


class ComposedReader(BarReader):
    """What of `Lake` is neither one table nor computed from bars alone."""

    _transport: Transport

    def fingerprint(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
        verify: bool = False,
    ) -> Fingerprint:
        """The content of series as one hash, and one per series and session; see `Lake.fingerprint`.

        Raises:
            UnknownSeries, DamagedFile: as `Lake.fingerprint`.
        """
        asked = {
            "source": source, "symbols": symbols, "resolution": resolution, "start": start, "end": end, "as_of": as_of,
            "verify": verify,
        }  # fmt: skip
        document = to_document(asked)
        sessions, mismatches = (
            self._transport.table("/fingerprint", {**document, "part": part}) for part in ("sessions", "mismatches")
        )
        series = combine_sessions(sessions)
        return Fingerprint(combine_series(series), series, sessions, mismatches)

    def explain_sql(self, query: str, *, as_of: Moment | None = None) -> SqlPlan:
        """Which files a query would open, and how DuckDB would run it; see `Lake.explain_sql`.

        Raises:
            ReadError: as `Lake.explain_sql`.
        """
        document = to_document({"query": query, "as_of": as_of})
        both = self._transport.table("/sql-plan", {**document, "part": "both"})
        return SqlPlan(both.drop("steps").filter(pl.col("table").is_not_null()), str(both["steps"][0]))

    def valid_mask(
        self,
        symbol: str,
        timestamps: pl.Series | Sequence[Moment | int],
        window: timedelta | str | int,
        *,
        datasets: str | Sequence[str] = ("trades",),
        source: str | None = None,
    ) -> pl.Series:
        """Whether a feature may be computed at each moment; see `Lake.valid_mask`.

        Raises:
            UnknownSeries, ConfigError: as `Lake.valid_mask`.
        """
        length = window_length(window)
        ends: list[Any] = moments_of(timestamps).to_list() if isinstance(timestamps, pl.Series) else _sent(timestamps)
        names = [datasets] if isinstance(datasets, str) else list(datasets)
        asked = {**to_document({"source": source}), "symbol": symbol, "window": length, "datasets": names}
        parts = [
            self._transport.table("/valid-mask", {**asked, "timestamps": ends[first : first + _MOMENTS]})["valid"]
            for first in range(0, max(1, len(ends)), _MOMENTS)
        ]
        return pl.concat(parts)

    def compare_bars_with_trades(
        self,
        symbol: str,
        resolution: Resolution | str,
        start: Moment,
        end: Moment,
        *,
        source: str | None = None,
        bars_source: str | None = None,
    ) -> BarComparison:
        """Tie out a vendor's bars against the trades that were heard; see `Lake.compare_bars_with_trades`. Both are sent.

        Raises:
            UnknownSeries, NoDataInRange, ReadError, ConfigError: as `trades` and `bars`.
        """
        return compare_with_trades(self, symbol, resolution, start, end, source, bars_source)  # type: ignore[arg-type]

    def pins(self, damaged: list[LakeError] | None = None) -> list[Pin]:
        """All pins of the lake, by name; see `Lake.pins`. They are made, forgotten and replayed on the server's machine.

        Raises:
            LakeError: one of them is damaged.
        """
        found = []
        for text, problem, fix in self._transport.table("/pins", {}).select("pin", "problem", "fix").iter_rows():
            if text is not None:
                found.append(Pin.from_json(text))
                continue
            error = LakeError(problem, fix=fix)
            if damaged is None:
                raise error
            damaged.append(error)
        return found


def _sent(timestamps: Sequence[Moment | int]) -> list[Any]:
    listed: list[Any] = to_document({"columns": list(timestamps)})["columns"]
    return listed
