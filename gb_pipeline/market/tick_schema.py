"""This module declares the columns of what collectors keep: trades, order books, and how continuously they were heard.

Times of events are 64-bit integers, nanoseconds since 1970 in UTC, because Delta Lake knows microseconds only; `timestamp` is the
same moment in microseconds, rounded down, by which files are found. Prices and sizes are decimals as for bars: `Decimal(18,8)`,
and `Decimal(38,18)` in a sibling table for rows that do not fit.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

from gb_pipeline.market.schema import SERIES_COLUMNS, TIMESTAMP, Precision, column


class StreamDataset(StrEnum):
    """What a collector can be told to keep of an instrument."""

    TRADES = "trades"
    BOOK_UPDATES = "book_updates"
    QUOTES = "quotes"


class Side(StrEnum):
    """Of a trade: who took liquidity. Of a level of a book: where it lies."""

    BUY = "buy"
    SELL = "sell"
    BID = "bid"
    ASK = "ask"


class Origin(StrEnum):
    """How a row came into the lake."""

    STREAM = "stream"  # heard live
    REST = "rest"  # asked for afterwards, to close a hole
    FILE = "file"  # imported


# The `collector` of imported rows, intervals and watermarks; it has nothing left to commit.
FILE_COLLECTOR = "file"
# The `collector` of gaps that a person made by removing rows.
REMOVAL_COLLECTOR = "removal"
# Of what stands in the column `collector` beside the names of collectors: imports, trades that were fetched afterwards, removals.
NO_COLLECTORS = frozenset({FILE_COLLECTOR, Origin.REST.value, REMOVAL_COLLECTOR})
_MOMENTS = [
    column("timestamp", TIMESTAMP, "moment of the event in microseconds: the exchange's where it says one, else ours"),
    column("exchange_time", pa.int64(), "ns since 1970 UTC by the exchange's clock", nullable=True),
    column(
        "receive_time", pa.int64(), "ns since 1970 UTC by the collector's clock; null if not heard live", nullable=True
    ),
]
_PLACE = [
    column("sequence", pa.int64(), "the venue's number of the message; of a range of updates its last", nullable=True),
    column("ordinal", pa.int32(), "place of the row in its message, from 0"),
    column("collector", pa.string(), "which collector heard it; `file` where it was imported", nullable=True),
]


def _level(precision: Precision, size: str) -> list[pa.Field]:
    number = pa.decimal128(*precision.digits)
    return [
        column("side", pa.string(), "bid or ask"),
        column("price", number, "in quote currency, as given"),
        column("size", number, size),
    ]


def trade_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """Columns of `trades` or `trades_wide`: one row for each trade."""
    number = pa.decimal128(*precision.digits)
    return pa.schema(
        [
            *SERIES_COLUMNS,
            *_MOMENTS,
            column(
                "side", pa.string(), "buy or sell: what the taker did; null where the venue does not say", nullable=True
            ),
            column("price", number, "in quote currency, as given"),
            column("size", number, "traded quantity in the venue's own unit"),
            column("trade_id", pa.string(), "the venue's own id", nullable=True),
            *_PLACE,
            column("origin", pa.string(), "stream, rest or file"),
        ]
    )


def book_update_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """Columns of `book_updates` or `book_updates_wide`: one row for each changed level."""
    return pa.schema(
        [
            *SERIES_COLUMNS,
            *_MOMENTS,
            *_level(precision, "quantity that now stands at the price; 0 where nothing does"),
            column(
                "first_sequence",
                pa.int64(),
                "of a message that sums up updates, the number of the first",
                nullable=True,
            ),
            *_PLACE,
            column(
                "checksum", pa.int64(), "the venue's own of the book after the message, on its last row", nullable=True
            ),
        ]
    )


def book_snapshot_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """Columns of `book_snapshots` or `book_snapshots_wide`: one row for each level of a whole book."""
    return pa.schema(
        [
            *SERIES_COLUMNS,
            *_MOMENTS,
            *_level(precision, "quantity that stands at the price"),
            *_PLACE,
            column("reason", pa.string(), "subscribed, resync, or periodic: made by the collector from the updates"),
        ]
    )


def quote_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """Columns of `quotes` or `quotes_wide`: the best bid and offer, one row for each change."""
    number = pa.decimal128(*precision.digits)
    return pa.schema(
        [
            *SERIES_COLUMNS,
            *_MOMENTS,
            *(
                column(f"{side}_{what}", number, f"{what} of the best {side}; null where there is none", nullable=True)
                for side in ("bid", "ask")
                for what in ("price", "size")
            ),
            *_PLACE,
        ]
    )


class ConnectionEventKind(StrEnum):
    """What happened to a connection or a subscription."""

    STARTED = "started"  # the collector; `detail` has its version, and how often it commits at the latest
    STOPPED = "stopped"  # the collector, as asked
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    CLOCK_SET = "clock_set"  # of the collector's machine, by the seconds in `detail`: its connections are opened anew
    SUBSCRIBED = "subscribed"
    REFUSED = "refused"  # a subscription, by the venue
    SNAPSHOT = "snapshot"  # a book was laid anew
    SEQUENCE = "sequence"  # messages are missing
    CHECKSUM = "checksum"  # a book is not the venue's
    STALLED = "stalled"  # nothing came for too long
    RESUMED = "resumed"
    SLOW = "slow_consumer"  # the collector could not keep up
    VENUE = "venue_status"  # what the venue says of itself
    UNREADABLE = "unreadable"  # a message that is not understood
    NOT_HEALED = "not_healed"  # trades of a hole that the venue does not serve; `detail` says which hole, and why
    CORRECTION = (
        "correction"  # of a trade that was heard before, or its cancellation: the venue's message is in `detail`
    )


CONNECTION_EVENTS = pa.schema(
    [
        column("source", pa.string(), "short name of the feed"),
        column("timestamp", TIMESTAMP, "when, in microseconds by the collector's clock"),
        column("event_time", pa.int64(), "when, ns since 1970 UTC by the collector's clock"),
        column("kind", pa.string(), "what happened; `ConnectionEventKind`"),
        column("dataset", pa.string(), "of a subscription: trades, book_updates or quotes", nullable=True),
        column("symbol", pa.string(), "of a subscription: its instrument", nullable=True),
        column("connection", pa.string(), "which connection, such as kraken-1", nullable=True),
        column("collector", pa.string(), "which collector"),
        column("first_sequence", pa.int64(), "of what is missing, the first number", nullable=True),
        column("last_sequence", pa.int64(), "of what is missing, the last number", nullable=True),
        column("detail", pa.string(), "more, as JSON; never a credential", nullable=True),
    ]
)


class IntervalKind(StrEnum):
    """What is known of a stretch of a stream."""

    COVERED = "covered"  # every message was heard, as far as the venue lets anybody know
    GAP = "gap"  # something is missing, or may be
    HEALED = "healed"  # of a gap: what was missing was fetched afterwards


class GapReason(StrEnum):
    """Why a stretch of a stream is not covered."""

    RESTART = "restart"
    DISCONNECT = "disconnect"
    CLOCK_SET = "clock_set"
    SEQUENCE = "sequence"
    CHECKSUM = "checksum"
    STALLED = "stalled"
    SLOW_CONSUMER = "slow_consumer"
    VENUE_INCIDENT = "venue_incident"
    UNREADABLE = "unreadable"
    BEST_EFFORT = "best_effort"  # what was heard is stored, but whoever hands it over may lose some and not say so
    REMOVED = "removed"  # taken out on purpose, by a person


# Evidence: nothing is covered because a clock says so, only because of what was heard.
STREAM_INTERVALS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("dataset", pa.string(), "trades, book_updates or quotes"),
        column("timestamp", TIMESTAMP, "start in microseconds"),
        column("start_time", pa.int64(), "ns since 1970 UTC, on the time axis of the rows (`timestamp`)"),
        column("end_time", pa.int64(), "the same, exclusive"),
        column("kind", pa.string(), "covered, gap or healed; `IntervalKind`"),
        column("reason", pa.string(), "of a gap: `GapReason`", nullable=True),
        column("collector", pa.string(), "whose evidence it is"),
        column("messages", pa.int64(), "heard within it"),
        column("rows", pa.int64(), "stored of them"),
        column(
            "missing", pa.int64(), "messages or trades that are missing, where the venue's numbers tell", nullable=True
        ),
        column(
            "first_sequence",
            pa.int64(),
            "of a covered stretch its first number; of a gap the first missing",
            nullable=True,
        ),
        column(
            "last_sequence",
            pa.int64(),
            "of a covered stretch its last number; of a gap the last missing",
            nullable=True,
        ),
    ]
)

# Up to when everything that a collector heard is committed.
WATERMARKS = pa.schema(
    [
        column("source", pa.string(), "short name of the feed"),
        column("dataset", pa.string(), "trades, book_updates or quotes"),
        column("collector", pa.string(), "whose"),
        column("timestamp", TIMESTAMP, "the watermark in microseconds"),
        column(
            "through_time", pa.int64(), "ns since 1970 UTC on the rows' time axis: everything before it is committed"
        ),
        column("segment", pa.int64(), "number of the spool's segment that was committed last"),
        column("rows", pa.int64(), "rows of it"),
    ]
)
