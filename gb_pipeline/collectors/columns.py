"""This module makes columns of what decoders handed over: all rows of a second at once, exact, or refused with their reasons.

Levels of books become one row each, times become ns since 1970 UTC, and numbers go from text to decimals in `quality.ticks`.
Every row that came is in exactly one of the tables, or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.collectors.levels import count_levels, level_columns
from gb_pipeline.collectors.messages import MessageRows, TimeUnit
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.tick_schema import Origin
from gb_pipeline.quality.reasons import UNREADABLE_TIMESTAMP
from gb_pipeline.quality.ticks import place_rows

_NANOSECONDS = {TimeUnit.NANOSECONDS: 1, TimeUnit.MICROSECONDS: 1_000, TimeUnit.MILLISECONDS: 1_000_000}
# `row` is the row as received, as JSON.
REFUSED = pl.Schema(
    {
        **dict.fromkeys(("source", "symbol", "table"), pl.String()),
        "timestamp": INSTANT,
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Columns:
    """What was heard in some time, ready to be stored.

    Attributes:
        tables: rows by name of their table, in the order in which they came, with the columns of its dataset; no empty ones.
        refused: columns of `REFUSED`.
    """

    tables: dict[str, pl.DataFrame]
    refused: pl.DataFrame

    @property
    def rows(self) -> int:
        """How many rows came: those of all tables, and the refused ones."""
        return sum(frame.height for frame in self.tables.values()) + self.refused.height


def count_rows(rows: MessageRows) -> int:
    """How many rows messages hold: trades, quotes, and levels of books."""
    levels = sum(count_levels(row[3]) + count_levels(row[4]) for row in rows.updates) + sum(
        count_levels(row[3]) + count_levels(row[4]) for row in rows.snapshots
    )
    return len(rows.trades) + len(rows.quotes) + levels


def to_columns(rows: MessageRows, source: str, unit: TimeUnit, collector: str) -> Columns:
    """Columns of what the decoders of a source handed over.

    Args:
        rows: of any time span.
        source: name under which they are stored.
        unit: how the venue writes times.
        collector: which one heard it.

    Returns:
        All rows: `columns.rows == count_rows(rows)`.

    Example:
        >>> heard = MessageRows(trades=[("BTC-USD", 1000, 2_000_000_000, "buy", "1.5", "2", "7", None, 0)])
        >>> to_columns(heard, "kraken", TimeUnit.MILLISECONDS, "one").tables["trades"]["price"].to_list()
        [Decimal('1.50000000')]
    """
    tables: dict[str, pl.DataFrame] = {}
    refused: list[pl.DataFrame] = []
    for table, frame in (
        ("trades", _trades(rows, unit)),
        ("book_updates", _levels(rows.updates, _UPDATE, unit)),
        ("book_snapshots", _levels(rows.snapshots, _SNAPSHOT, unit)),
        ("quotes", _quotes(rows, unit)),
    ):
        if frame is not None:
            fixed = {"source": source, "collector": collector, "origin": Origin.STREAM.value}
            known = frame.with_columns(pl.lit(value).alias(name) for name, value in fixed.items())
            refused += _split(table, known, tables)
    return Columns(tables, pl.concat(refused) if refused else pl.DataFrame(schema=REFUSED))


_LIMIT = 2**63
_UPDATE = ("first_sequence", "sequence", "checksum")
_SNAPSHOT = ("sequence", "reason")


def _split(table: str, frame: pl.DataFrame, tables: dict[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """Put rows into their tables; those that no table can hold."""
    unread = frame["exchange_time"].is_null() & frame["raw_time"].is_not_null()
    refused = []
    if unread.any():
        bad = frame.filter(unread).with_columns(pl.lit([UNREADABLE_TIMESTAMP]).alias("reasons"))
        refused.append(_refused(table, bad))
        frame = frame.filter(~unread)
    placed = place_rows(frame, table)
    for precision, kept in ((Precision.STANDARD, placed.standard), (Precision.WIDE, placed.wide)):
        if kept.height:
            dataset = stream_dataset(table, precision)
            tables[dataset.name] = kept.select(dataset.columns.names)
    if placed.refused.height:
        refused.append(_refused(table, placed.refused))
    return refused


def _refused(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    received = pl.struct(pl.exclude("reasons", "source", "exchange_time")).struct.json_encode()
    moment = (pl.coalesce("exchange_time", "receive_time") // 1000).cast(INSTANT)
    return rows.select(
        "source", "symbol", pl.lit(table).alias("table"), moment.alias("timestamp"), "reasons", received.alias("row")
    ).cast(REFUSED)


def _trades(rows: MessageRows, unit: TimeUnit) -> pl.DataFrame | None:
    if not rows.trades:
        return None
    symbol, raw, received, side, price, size, ids, sequence, ordinal = _fields(rows.trades)
    return pl.DataFrame(
        [
            *_message(symbol, raw, received, unit),
            pl.Series("side", side, pl.String()),
            pl.Series("price", price, pl.String()),
            pl.Series("size", size, pl.String()),
            _texts("trade_id", ids),
            _integers("sequence", sequence),
            pl.Series("ordinal", ordinal, pl.Int32()),
        ]
    )


def _quotes(rows: MessageRows, unit: TimeUnit) -> pl.DataFrame | None:
    if not rows.quotes:
        return None
    symbol, raw, received, bid_price, bid_size, ask_price, ask_size, sequence = _fields(rows.quotes)
    return pl.DataFrame(
        [
            *_message(symbol, raw, received, unit),
            pl.Series("bid_price", bid_price, pl.String()),
            pl.Series("bid_size", bid_size, pl.String()),
            pl.Series("ask_price", ask_price, pl.String()),
            pl.Series("ask_size", ask_size, pl.String()),
            _integers("sequence", sequence),
            pl.Series("ordinal", np.zeros(len(symbol), np.int32)),
        ]
    )


def _levels(messages: Sequence[tuple[Any, ...]], more: tuple[str, ...], unit: TimeUnit) -> pl.DataFrame | None:
    """One row for each level: bids of a message before its asks."""
    if not messages:
        return None
    symbol, raw, received, bids, asks, *facts = _fields(messages)
    sides: list[Any] = [None] * (2 * len(messages))
    sides[::2], sides[1::2] = bids, asks
    counts, price, size = level_columns(sides)
    if not len(price):
        return None
    of_message = counts[::2] + counts[1::2]
    ends = of_message.cumsum()
    of_row = np.repeat(np.arange(len(messages), dtype=np.uint32), of_message)
    whole = pl.DataFrame(
        [
            *_message(symbol, raw, received, unit),
            *(
                pl.Series(name, values, pl.String()) if name == "reason" else _integers(name, values)
                for name, values in zip(more, facts, strict=True)
            ),
        ]
    )
    ordinal = np.arange(len(price)) - np.repeat(ends - of_message, of_message)
    side = np.repeat(np.tile(np.array([0, 1], np.uint32), len(messages)), counts)
    frame = whole[of_row].hstack(
        [_SIDES[side].alias("side"), price, size, pl.Series("ordinal", ordinal.astype(np.int32))]
    )
    if "checksum" in more:
        is_last = np.zeros(len(price), np.bool_)
        is_last[ends[of_message > 0] - 1] = True
        frame = frame.with_columns(pl.when(pl.Series(is_last)).then("checksum"))
    return frame


_SIDES = pl.Series(["bid", "ask"])


def _fields(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The fields of rows, each by itself."""
    return list(zip(*rows, strict=True))


def _message(symbol: Sequence[str], raw: Sequence[Any], received: Sequence[int], unit: TimeUnit) -> list[pl.Series]:
    times = pl.Series("raw_time", raw, strict=False)
    return [
        pl.Series("symbol", symbol, pl.String()),
        times.cast(pl.String()),
        _nanoseconds(times, unit).alias("exchange_time"),
        pl.Series("receive_time", received, pl.Int64()),
    ]


def _nanoseconds(times: pl.Series, unit: TimeUnit) -> pl.Series:
    """Moments as a venue writes them, as ns since 1970 UTC; null where they cannot be read."""
    if times.null_count() == len(times):
        return pl.Series([None], dtype=pl.Int64()).new_from_index(0, len(times))
    if unit is TimeUnit.ISO:
        texts = times.cast(pl.String())
        moments = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="ns", time_zone="UTC", strict=False)
        return moments.cast(pl.Int64())
    if unit is TimeUnit.SECONDS:
        exact = times.cast(pl.String()).cast(pl.Decimal(38, 9), strict=False)
        return (exact * 10**9).cast(pl.Int64(), strict=False)
    numbers = times.cast(pl.Int64(), strict=False)
    factor = _NANOSECONDS[unit]
    # What overflows is no moment of any exchange.
    return numbers.set((numbers.abs() > 2**63 // (factor + 1)).fill_null(False), None) * factor


def _integers(name: str, values: Sequence[int | None]) -> pl.Series:
    """Numbers of messages; null where one is beyond what 64 bits hold: the row counts without it."""
    try:
        return pl.Series(name, values, pl.Int64())
    except (TypeError, OverflowError):
        return pl.Series(
            name, [item if item is None or -_LIMIT <= item < _LIMIT else None for item in values], pl.Int64()
        )


def _texts(name: str, values: Sequence[str | int | None]) -> pl.Series:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, int):
        try:
            return pl.Series(name, values, pl.Int64()).cast(pl.String())
        except (TypeError, OverflowError):
            pass
    return pl.Series(name, [None if item is None else str(item) for item in values], pl.String())
