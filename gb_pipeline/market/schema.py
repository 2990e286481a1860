"""This module declares the columns of every table once, as Arrow schemas: names, types, nullability and meaning.

Polars schemas, the Pandera model, Delta tables, empty frames and the catalog's columns are derived from these declarations.

All prices and volumes are decimals: `Decimal(18,8)` is an INT64 in Parquet, exact and smaller than a float. What does
not fit goes to a sibling table with `Decimal(38,18)` (`Precision.WIDE`). All timestamps are microseconds in UTC.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import polars as pl
import pyarrow as pa

from gb_pipeline.market.resolution import Resolution

TIMESTAMP = pa.timestamp("us", tz="UTC")
PRICES = ("open", "high", "low", "close")
CORE = ("timestamp", *PRICES, "volume")
OPTIONAL = ("trade_count", "vwap")
# What a bar says; `known_at` and the keys are about the bar.
CONTENT = (*PRICES, "volume", *OPTIONAL)
# What somebody may say better than the vendor.
CORRECTABLE = (*PRICES, "volume")


class Precision(StrEnum):
    """How many digits a source's prices and volumes may have."""

    STANDARD = "standard"
    WIDE = "wide"

    @property
    def digits(self) -> tuple[int, int]:
        """Precision and scale: `(18, 8)` or `(38, 18)`."""
        return (38, 18) if self is Precision.WIDE else (18, 8)

    @property
    def decimal(self) -> pl.Decimal:
        """The Polars type."""
        return pl.Decimal(*self.digits)


class Adjustment(StrEnum):
    """What a vendor did to the prices that it serves."""

    RAW = "raw"  # as traded
    SPLIT = "split"  # divided by later splits: a new split changes the whole history
    ALL = "all"  # for dividends as well


def column(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    """A column that says what it means."""
    return pa.field(name, kind, nullable=nullable, metadata={"comment": meaning})


def _bar_content(precision: Precision) -> list[pa.Field]:
    number = pa.decimal128(*precision.digits)
    return [
        *(column(name, number, f"{name} price in quote currency, as given") for name in PRICES),
        column("volume", number, "traded quantity in the vendor's own unit"),
        column("trade_count", pa.int64(), "number of trades, where the vendor says", nullable=True),
        column("vwap", number, "volume-weighted average price, where the vendor says", nullable=True),
    ]


def _prefixed(prefix: str, meaning: str) -> list[pa.Field]:
    """The content of a bar under other names."""
    return [
        column(f"{prefix}{field.name}", field.type, f"{field.name}: {meaning}", nullable=field.nullable)
        for field in _bar_content(Precision.WIDE)
    ]


SERIES_COLUMNS = [
    column("source", pa.string(), "the provider's feed under a short name"),
    column("symbol", pa.string(), "canonical code of the instrument"),
]
_RESOLUTION = column("resolution", pa.string(), "length of the bars, such as 1m")
_WINDOW = [
    column("window_start", TIMESTAMP, "start of the window that was asked for"),
    column("window_end", TIMESTAMP, "end of that window, exclusive"),
]
FETCHED_AT_COLUMN = column("fetched_at", TIMESTAMP, "when the vendor was asked for the answer that this row came with")


@cache
def bar_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """What a bar says and how it came here; storage adds the moments and partitions of a version."""
    return pa.schema(
        [
            *SERIES_COLUMNS,
            column("timestamp", TIMESTAMP, "the bar's open; the session's date at midnight for a day or longer"),
            *_bar_content(precision),
            column(
                "withdrawn",
                pa.bool_(),
                "true from the moment on at which the vendor no longer returned it",
                nullable=True,
            ),
            FETCHED_AT_COLUMN,
        ]
    )


@cache
def bar_schema(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """What a reader of bars sees: `bar_columns`, and when this lake first held and when it replaced the content."""
    return pa.schema(
        [
            *bar_columns(precision),
            column("known_at", TIMESTAMP, "when this lake first held this content"),
            column("superseded_at", TIMESTAMP, "when newer content took its place; null while current", nullable=True),
        ]
    )


QUARANTINE = pa.schema(
    [
        *SERIES_COLUMNS,
        _RESOLUTION,
        column("timestamp", TIMESTAMP, "the row's own timestamp, null where it cannot be read", nullable=True),
        column("reasons", pa.list_(pa.string()), "codes of every rule that the row breaks"),
        column("row", pa.string(), "the row as received"),
        *_WINDOW,
        column("session", pa.date32(), "the session it was refused in", nullable=True),
        column("run_id", pa.string(), "the run that refused it", nullable=True),
        column("quarantined_at", TIMESTAMP, "when it was refused"),
        column("row_id", pa.string(), "hash of series, row and reasons: the same refusal is stored once"),
        column(
            "bar", pa.string(), "what was read from the row, as JSON; null where the row is that itself", nullable=True
        ),
    ]
)

FILE_ROWS = pa.struct(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("read", pa.int64(), nullable=False),
        pa.field("outside", pa.int64(), nullable=False),
    ]
)

FETCHES = pa.schema(
    [
        *SERIES_COLUMNS,
        _RESOLUTION,
        *_WINDOW,
        column("fetched_at", TIMESTAMP, "when the call began"),
        column("outcome", pa.string(), "ok, empty, error or deferred"),
        column("received", pa.int64(), "rows in the answer"),
        column("calls", pa.int64(), "requests it took, retries included"),
        column("latency_ms", pa.int64(), "milliseconds until the last byte"),
        column("bytes", pa.int64(), "size of the answer's bodies"),
        column("response_hash", pa.string(), "SHA-256 over the answer's bodies", nullable=True),
        column("error", pa.string(), "kind of the error", nullable=True),
        column("message", pa.string(), "what it said, without credentials", nullable=True),
        column("run_id", pa.string(), "the run that asked", nullable=True),
        column("kind", pa.string(), "bars, corporate_actions, fundamentals, ...; bars where null", nullable=True),
        column("normaliser", pa.string(), "name and version of the code that read the answer", nullable=True),
        column("raw", pa.list_(pa.string()), "SHA-256 of each kept body, in the order of the calls", nullable=True),
        # What became of the rows of bars, from the moment on at which they are stored.
        column("stored", pa.int64(), "rows of it that were new or restated", nullable=True),
        column("unchanged", pa.int64(), "rows of it that were stored before", nullable=True),
        column("quarantined", pa.int64(), "rows of it that were refused", nullable=True),
        column("duplicates", pa.int64(), "rows of it that repeat another one in every value", nullable=True),
        column(
            "unplaced",
            pa.int64(),
            "quarantined rows that belong to no session of the window, or whose timestamp cannot be read",
            nullable=True,
        ),
        # Rows of files that were read and not asked for: read = received + outside.
        column("read", pa.int64(), "rows that were read for it", nullable=True),
        column(
            "outside",
            pa.int64(),
            "rows of them that lie outside of the window, and are not in the answer",
            nullable=True,
        ),
        column(
            "files",
            pa.list_(FILE_ROWS),
            "the files that they were read from, those with most rows outside",
            nullable=True,
        ),
        column(
            "fetch_id", pa.string(), "tells fetches apart: the same one is told again once it is stored", nullable=True
        ),
    ]
)

GAP = pa.struct(
    [
        pa.field("start", TIMESTAMP, nullable=False),
        pa.field("end", TIMESTAMP, nullable=False),
        pa.field("missing", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

# The ledger of sessions: what the catalog's `coverage` and `gaps` are made of, so that they never open a data file.
# Append-only; of several rows of one session the one that became known last holds.
SESSIONS = pa.schema(
    [
        *SERIES_COLUMNS,
        _RESOLUTION,
        column("session", pa.date32(), "the trading day, by the source's calendar"),
        column("expected", pa.int64(), "bars that the calendar expects"),
        column("actual", pa.int64(), "bars stored"),
        column("missing", pa.int64(), "expected bars that are not stored"),
        column("quarantined", pa.int64(), "rows refused in the last fetch of this session"),
        column("warnings", pa.int64(), "rows stored although they look suspicious"),
        column("withdrawn", pa.int64(), "stored bars that the vendor no longer returns"),
        column("status", pa.string(), "complete, partial, empty, closed, not_listed, refused, failed or removed"),
        column("fingerprint", pa.int64(), "of the session's content; null without rows", nullable=True),
        column("first_timestamp", TIMESTAMP, "first bar", nullable=True),
        column("last_timestamp", TIMESTAMP, "last bar", nullable=True),
        column("gaps", pa.list_(GAP), "runs of missing bars, each with its reason"),
        FETCHED_AT_COLUMN,
        column("precision", pa.string(), "standard or wide: which sibling table holds the rows"),
        column(
            "table_version", pa.int64(), "Delta version of that table that this describes; -1 where it changed nothing"
        ),
        column("adjustment", pa.string(), "raw, split or all; raw where null", nullable=True),
        column("calendar", pa.string(), "calendar and version of its sessions that expected the bars", nullable=True),
    ]
)

# One action is (source, symbol, ex_date, kind, label); storage keeps every version of it.
CORPORATE_ACTIONS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("ex_date", pa.date32(), "first session that trades without the right; the day itself of a (de)listing"),
        column("kind", pa.string(), "split, cash_dividend, listing or delisting"),
        column("label", pa.string(), "the vendor's own type, such as special; tells actions of one day apart"),
        column("ratio", pa.decimal128(38, 18), "new shares per old share, for splits; rounded", nullable=True),
        column("split_to", pa.decimal128(38, 18), "new shares, exact", nullable=True),
        column("split_from", pa.decimal128(38, 18), "old shares, exact", nullable=True),
        column("amount", pa.decimal128(38, 18), "cash per share, for dividends, as of the ex date", nullable=True),
        column("currency", pa.string(), "of the amount", nullable=True),
        column("declared_date", pa.date32(), "announced", nullable=True),
        column("record_date", pa.date32(), "holders of this day have the right", nullable=True),
        column("pay_date", pa.date32(), "paid", nullable=True),
        column("withdrawn", pa.bool_(), "true from the moment on at which the vendor no longer says it", nullable=True),
        FETCHED_AT_COLUMN,
    ]
)

# Rows of one override share its `override_id`: the last one has what the vendor said last.
OVERRIDES = pa.schema(
    [
        *SERIES_COLUMNS,
        _RESOLUTION,
        column("timestamp", TIMESTAMP, "the bar's open"),
        *_prefixed("corrected_", "what holds instead of it"),
        *_prefixed("vendor_", "what the vendor says"),
        column("vendor_fetched_at", TIMESTAMP, "when the vendor was asked for that"),
        column("reason", pa.string(), "why, in the words of who did it"),
        column("withdrawn", pa.bool_(), "whether it takes back the override before it"),
        column("override_id", pa.string(), "names it; it holds once an entry of the bars names how it begins"),
        column("row_id", pa.string(), "the row of `quarantine` that it releases", nullable=True),
        column("vendor_refused", pa.bool_(), "true while the vendor has said no bar that was accepted", nullable=True),
    ]
)

# What somebody decided about refused rows; of several decisions about a row the last one holds. Releases are `OVERRIDES`.
QUARANTINE_DECISIONS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("row_id", pa.string(), "the row of `quarantine`"),
        column("decision", pa.string(), "dropped or reopened"),
        column("reason", pa.string(), "why, in the words of who did it"),
        column("decision_id", pa.string(), "names the decision; rows that were decided at once share it"),
    ]
)

# What was taken out of the bars on purpose. A row holds once an entry of the bars names its `removal_id`.
REMOVALS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("resolution", pa.string(), "of the bars; of streams the name of their table"),
        column("precision", pa.string(), "standard or wide: of which sibling table"),
        column("action", pa.string(), "deleted, renamed, purged, or restored: sessions that may be fetched again"),
        column("renamed_to", pa.string(), "the symbol under which the bars stand since", nullable=True),
        column("first_session", pa.date32(), "first session that it concerns", nullable=True),
        column("last_session", pa.date32(), "last session that it concerns", nullable=True),
        column("sessions", pa.int64(), "how many of them; of streams, days in UTC"),
        column(
            "bars", pa.int64(), "bars that ended with it; of a purge, versions of bars that are gone; of streams, rows"
        ),
        column("reason", pa.string(), "why, in the words of who did it"),
        column("removal_id", pa.string(), "names it; it holds once an entry of the bars names it too"),
    ]
)


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """The same columns as Polars types, in the same order."""
    return pl.Schema(_polars_types(schema))


@cache
def _polars_types(schema: pa.Schema) -> tuple[tuple[str, pl.DataType], ...]:
    return tuple(pl.DataFrame(pa.Table.from_batches([], schema=schema)).schema.items())


def empty(schema: pa.Schema) -> pl.DataFrame:
    """A frame with all columns and no rows."""
    return pl.DataFrame(schema=polars_schema(schema))


def bar_table(resolution: Resolution, precision: Precision = Precision.STANDARD) -> str:
    """The table's name: `bars_1m`, or its sibling `bars_1m_wide`."""
    return resolution.table + ("_wide" if precision is Precision.WIDE else "")


# --- what a provider hands over ---------------------------------------------------------------------------------------

# Numbers stay text until `quality.exact` reads them: only text can be compared with the vendor's answer digit by digit.
RECEIVED = pl.Schema(
    {
        "timestamp": pl.Datetime("us", "UTC"),
        **dict.fromkeys((*PRICES, "volume"), pl.String()),
    }
)
# Columns that a provider may add: `ask_close` of a quote bar (a crossed quote is refused), the line or object itself, and why it
# cannot be a bar where the provider knows better than that its stamp is missing (such as `quality.reasons.AMBIGUOUS_TIMESTAMP`).
RECEIVED_OPTIONAL = pl.Schema(
    {
        "trade_count": pl.String(),
        "vwap": pl.String(),
        "ask_close": pl.String(),
        "received": pl.String(),
        "fault": pl.String(),
    }
)
# The kinds that there are.
SPLIT, CASH_DIVIDEND, LISTING, DELISTING = "split", "cash_dividend", "listing", "delisting"
ACTION_KINDS = (SPLIT, CASH_DIVIDEND, LISTING, DELISTING)
# The same for corporate actions: ratios and amounts are text, `to:from` of a split apart.
ACTIONS_RECEIVED = pl.Schema(
    {
        "ex_date": pl.Date(),
        "kind": pl.String(),
        "label": pl.String(),
        "split_to": pl.String(),
        "split_from": pl.String(),
        "amount": pl.String(),
        "currency": pl.String(),
        "declared_date": pl.Date(),
        "record_date": pl.Date(),
        "pay_date": pl.Date(),
    }
)
