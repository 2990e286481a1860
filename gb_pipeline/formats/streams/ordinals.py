"""Places of rows: which of several rows of one moment comes first, and which numbers follow one another.

Rows are counted chunk by chunk, so that a file of any length is counted in flat memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.archive import INTERVALS
from gb_pipeline.market.tick_schema import GapReason, IntervalKind


@dataclass
class Ordinals:
    """Numbers the rows of each moment of each symbol, from 0, over all chunks and files.

    Attributes:
        place: what is read, for messages.
        strict: whether a moment before those that were counted is refused; else its rows are counted anew, which does for rows
            that are told apart by an id.
    """

    place: str
    strict: bool = True
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)

    def number(self, rows: pl.DataFrame, moment: str) -> pl.DataFrame:
        """Add the column `ordinal` (Int32).

        Args:
            rows: with `symbol`, in their order; moments of a chunk may be in any order.
            moment: the column that tells moments apart; rows where it is null are counted together.

        Raises:
            FormatRefused: a moment lies before those of a chunk before: it may have been counted.
        """
        count = pl.col("symbol").cum_count().over("symbol", moment) - 1
        numbered = rows.with_columns(count.cast(pl.Int32).alias("ordinal"))
        ends = numbered.drop_nulls(moment).group_by("symbol").agg(
            pl.col(moment).min().alias("first"), pl.col(moment).max().alias("last"),
            pl.col("ordinal").filter(pl.col(moment) == pl.col(moment).max()).max().alias("highest"),
        )  # fmt: skip
        carried = []
        for symbol, first, last, highest in ends.iter_rows():
            before, used = self._last.get(symbol, (first - 1, 0))
            if first < before and self.strict:
                raise FormatRefused(
                    f"{self.place}: times of {symbol} go back, to {first} behind {before}",
                    fix="sort the file by time, or name the files in the order of time",
                )
            if first == before:
                carried.append((symbol, first, used))
            self._last[symbol] = (last, highest + 1 + (used if first == before == last else 0))
        if not carried:
            return numbered
        offsets = pl.DataFrame(
            carried, schema={"symbol": pl.String(), moment: pl.Int64(), "offset": pl.Int32()}, orient="row"
        )
        joined = numbered.join(offsets, on=["symbol", moment], how="left", maintain_order="left")
        return joined.with_columns(
            (pl.col("ordinal") + pl.col("offset").fill_null(0)).cast(pl.Int32).alias("ordinal")
        ).drop("offset")


@dataclass
class Numbered:
    """What numbers that grow by one prove of a stream: where none is missing, nothing is.

    Attributes:
        dataset: of the intervals.
        unit: ns that the file's times tell apart: trades of the same moment may lie on both sides of an edge.
    """

    dataset: str
    unit: int
    _open: dict[str, tuple[int, int, int, int, int]] = field(default_factory=dict)
    _found: list[tuple[str, int, int, str, int, int | None, int, int]] = field(default_factory=list)

    def see(self, rows: pl.DataFrame) -> None:
        """Take note of rows: `symbol`, `exchange_time` and `number` (Int64), in the order of the file."""
        known = rows.select("symbol", "exchange_time", "number").drop_nulls()
        for (symbol,), own in known.group_by("symbol", maintain_order=True):
            # Files that overlap repeat numbers, which proves nothing more.
            end = self._open[str(symbol)][1] if symbol in self._open else None
            fresh = own if end is None else own.filter(pl.col("number") > end)
            if fresh.is_empty():
                continue
            step, back = pl.col("number").diff(), pl.col("exchange_time").diff() < 0
            begins = ((step != 1) | back).fill_null(False).cast(pl.Int32).cum_sum()
            runs = fresh.group_by(begins.alias("run"), maintain_order=True).agg(
                pl.col("number").first().alias("first"), pl.col("number").last().alias("last"),
                pl.col("exchange_time").first().alias("start"), pl.col("exchange_time").last().alias("end"), pl.len(),
            )  # fmt: skip
            for _, first, last, start, stop, count in runs.iter_rows():
                self._add(str(symbol), first, last, start, stop, count)

    def _add(self, symbol: str, first: int, last: int, start: int, stop: int, count: int) -> None:
        if symbol in self._open:
            low, high, since, until, rows = self._open[symbol]
            if first == high + 1 and start >= until:
                self._open[symbol] = (low, last, since, stop, rows + count)
                return
            self._close(symbol)
            if first > high + 1:
                missing = first - high - 1
                self._found.append(
                    (symbol, until, max(start, until) + self.unit, IntervalKind.GAP, 0, missing, high + 1, first - 1)
                )
        self._open[symbol] = (first, last, start, stop, count)

    def _close(self, symbol: str) -> None:
        low, high, since, until, rows = self._open.pop(symbol)
        # What happened in the first moment before the first number, and in the last one behind the last, is not known.
        if until > since + self.unit:
            self._found.append((symbol, since + self.unit, until, IntervalKind.COVERED, rows, None, low, high))

    def intervals(self) -> pl.DataFrame:
        """Columns of `archive.INTERVALS`."""
        for symbol in list(self._open):
            self._close(symbol)
        rows = [
            {
                "symbol": symbol, "dataset": self.dataset, "start_time": start, "end_time": end, "kind": str(kind),
                "reason": str(GapReason.SEQUENCE) if kind == IntervalKind.GAP else None, "messages": count, "rows": count,
                "missing": missing, "first_sequence": first, "last_sequence": last,
            }
            for symbol, start, end, kind, count, missing, first, last in self._found
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=INTERVALS)
