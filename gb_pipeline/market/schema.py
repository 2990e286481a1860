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


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": meaning})


def _bar_content(precision: Precision) -> list[pa.Field]:
    number = pa.decimal128(*precision.digits)
    return [
        *(_field(name, number, f"{name} price in quote currency, as given") for name in PRICES),
        _field("volume", number, "traded quantity in the vendor's own unit"),
        _field("trade_count", pa.int64(), "number of trades, where the vendor says", nullable=True),
        _field("vwap", number, "volume-weighted average price, where the vendor says", nullable=True),
    ]


def _prefixed(prefix: str, meaning: str) -> list[pa.Field]:
    """The content of a bar under other names."""
    return [
        _field(f"{prefix}{field.name}", field.type, f"{field.name}: {meaning}", nullable=field.nullable)
        for field in _bar_content(Precision.WIDE)
    ]


_SERIES = [
    _field("source", pa.string(), "the provider's feed under a short name"),
    _field("symbol", pa.string(), "canonical code of the instrument"),
]
_RESOLUTION = _field("resolution", pa.string(), "length of the bars, such as 1m")
_WINDOW = [
    _field("window_start", TIMESTAMP, "start of the window that was asked for"),
    _field("window_end", TIMESTAMP, "end of that window, exclusive"),
]
_FETCHED_AT = _field("fetched_at", TIMESTAMP, "when the vendor was asked for the answer that this row came with")


@cache
def bar_columns(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """What a bar says and how it came here; storage adds the moments and partitions of a version."""
    return pa.schema(
        [
            *_SERIES,
            _field("timestamp", TIMESTAMP, "the bar's open; the session's date at midnight for a day or longer"),
            *_bar_content(precision),
            _field(
                "withdrawn",
                pa.bool_(),
                "true from the moment on at which the vendor no longer returned it",
                nullable=True,
            ),
            _FETCHED_AT,
        ]
    )


@cache
def bar_schema(precision: Precision = Precision.STANDARD) -> pa.Schema:
    """What a reader of bars sees: `bar_columns`, and when this lake first held and when it replaced the content."""
    return pa.schema(
        [
            *bar_columns(precision),
            _field("known_at", TIMESTAMP, "when this lake first held this content"),
            _field("superseded_at", TIMESTAMP, "when newer content took its place; null while current", nullable=True),
        ]
    )


QUARANTINE = pa.schema(
    [
        *_SERIES,
        _RESOLUTION,
        _field("timestamp", TIMESTAMP, "the row's own timestamp, null where it cannot be read", nullable=True),
        _field("reasons", pa.list_(pa.string()), "codes of every rule that the row breaks"),
        _field("row", pa.string(), "the row as received"),
        *_WINDOW,
        _field("session", pa.date32(), "the session it was refused in", nullable=True),
        _field("run_id", pa.string(), "the run that refused it", nullable=True),
        _field("quarantined_at", TIMESTAMP, "when it was refused"),
        _field("row_id", pa.string(), "hash of series, row and reasons: the same refusal is stored once"),
        _field(
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
        *_SERIES,
        _RESOLUTION,
        *_WINDOW,
        _field("fetched_at", TIMESTAMP, "when the call began"),
        _field("outcome", pa.string(), "ok, empty, error or deferred"),
        _field("received", pa.int64(), "rows in the answer"),
        _field("calls", pa.int64(), "requests it took, retries included"),
        _field("latency_ms", pa.int64(), "milliseconds until the last byte"),
        _field("bytes", pa.int64(), "size of the answer's bodies"),
        _field("response_hash", pa.string(), "SHA-256 over the answer's bodies", nullable=True),
        _field("error", pa.string(), "kind of the error", nullable=True),
        _field("message", pa.string(), "what it said, without credentials", nullable=True),
        _field("run_id", pa.string(), "the run that asked", nullable=True),
        _field("kind", pa.string(), "bars, corporate_actions or instruments; bars where null", nullable=True),
        _field("normaliser", pa.string(), "name and version of the code that read the answer", nullable=True),
        _field("raw", pa.list_(pa.string()), "SHA-256 of each kept body, in the order of the calls", nullable=True),
        # What became of the rows of bars, from the moment on at which they are stored.
        _field("stored", pa.int64(), "rows of it that were new or restated", nullable=True),
        _field("unchanged", pa.int64(), "rows of it that were stored before", nullable=True),
        _field("quarantined", pa.int64(), "rows of it that were refused", nullable=True),
        _field("duplicates", pa.int64(), "rows of it that repeat another one in every value", nullable=True),
        _field(
            "unplaced",
            pa.int64(),
            "quarantined rows that belong to no session of the window, or whose timestamp cannot be read",
            nullable=True,
        ),
        # Rows of files that were read and not asked for: read = received + outside.
        _field("read", pa.int64(), "rows that were read for it", nullable=True),
        _field(
            "outside",
            pa.int64(),
            "rows of them that lie outside of the window, and are not in the answer",
            nullable=True,
        ),
        _field(
            "files",
            pa.list_(FILE_ROWS),
            "the files that they were read from, those with most rows outside",
            nullable=True,
        ),
        _field(
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
        *_SERIES,
        _RESOLUTION,
        _field("session", pa.date32(), "the trading day, by the source's calendar"),
        _field("expected", pa.int64(), "bars that the calendar expects"),
        _field("actual", pa.int64(), "bars stored"),
        _field("missing", pa.int64(), "expected bars that are not stored"),
        _field("quarantined", pa.int64(), "rows refused in the last fetch of this session"),
        _field("warnings", pa.int64(), "rows stored although they look suspicious"),
        _field("withdrawn", pa.int64(), "stored bars that the vendor no longer returns"),
        _field("status", pa.string(), "complete, partial, empty, closed, not_listed, refused, failed or removed"),
        _field("fingerprint", pa.int64(), "of the session's content; null without rows", nullable=True),
        _field("first_timestamp", TIMESTAMP, "first bar", nullable=True),
        _field("last_timestamp", TIMESTAMP, "last bar", nullable=True),
        _field("gaps", pa.list_(GAP), "runs of missing bars, each with its reason"),
        _FETCHED_AT,
        _field("precision", pa.string(), "standard or wide: which sibling table holds the rows"),
        _field(
            "table_version", pa.int64(), "Delta version of that table that this describes; -1 where it changed nothing"
        ),
        _field("adjustment", pa.string(), "raw, split or all; raw where null", nullable=True),
        _field("calendar", pa.string(), "calendar and version of its sessions that expected the bars", nullable=True),
    ]
)

# One action is (source, symbol, ex_date, kind, label); storage keeps every version of it.
CORPORATE_ACTIONS = pa.schema(
    [
        *_SERIES,
        _field("ex_date", pa.date32(), "first session that trades without the right; the day itself of a (de)listing"),
        _field("kind", pa.string(), "split, cash_dividend, listing or delisting"),
        _field("label", pa.string(), "the vendor's own type, such as special; tells actions of one day apart"),
        _field("ratio", pa.decimal128(38, 18), "new shares per old share, for splits; rounded", nullable=True),
        _field("split_to", pa.decimal128(38, 18), "new shares, exact", nullable=True),
        _field("split_from", pa.decimal128(38, 18), "old shares, exact", nullable=True),
        _field("amount", pa.decimal128(38, 18), "cash per share, for dividends, as of the ex date", nullable=True),
        _field("currency", pa.string(), "of the amount", nullable=True),
        _field("declared_date", pa.date32(), "announced", nullable=True),
        _field("record_date", pa.date32(), "holders of this day have the right", nullable=True),
        _field("pay_date", pa.date32(), "paid", nullable=True),
        _field("withdrawn", pa.bool_(), "true from the moment on at which the vendor no longer says it", nullable=True),
        _FETCHED_AT,
    ]
)

# Rows of one override share its `override_id`: the last one has what the vendor said last.
OVERRIDES = pa.schema(
    [
        *_SERIES,
        _RESOLUTION,
        _field("timestamp", TIMESTAMP, "the bar's open"),
        *_prefixed("corrected_", "what holds instead of it"),
        *_prefixed("vendor_", "what the vendor says"),
        _field("vendor_fetched_at", TIMESTAMP, "when the vendor was asked for that"),
        _field("reason", pa.string(), "why, in the words of who did it"),
        _field("withdrawn", pa.bool_(), "whether it takes back the override before it"),
        _field("override_id", pa.string(), "names it; it holds once an entry of the bars names how it begins"),
        _field("row_id", pa.string(), "the row of `quarantine` that it releases", nullable=True),
        _field("vendor_refused", pa.bool_(), "true while the vendor has said no bar that was accepted", nullable=True),
    ]
)

# What somebody decided about refused rows; of several decisions about a row the last one holds. Releases are `OVERRIDES`.
QUARANTINE_DECISIONS = pa.schema(
    [
        *_SERIES,
        _field("row_id", pa.string(), "the row of `quarantine`"),
        _field("decision", pa.string(), "dropped or reopened"),
        _field("reason", pa.string(), "why, in the words of who did it"),
        _field("decision_id", pa.string(), "names the decision; rows that were decided at once share it"),
    ]
)

# What was taken out of the bars on purpose. A row holds once an entry of the bars names its `removal_id`.
REMOVALS = pa.schema(
    [
        *_SERIES,
        _RESOLUTION,
        _field("precision", pa.string(), "standard or wide: of which sibling table"),
        _field("action", pa.string(), "deleted, renamed, purged, or restored: sessions that may be fetched again"),
        _field("renamed_to", pa.string(), "the symbol under which the bars stand since", nullable=True),
        _field("first_session", pa.date32(), "first session that it concerns", nullable=True),
        _field("last_session", pa.date32(), "last session that it concerns", nullable=True),
        _field("sessions", pa.int64(), "how many of them"),
        _field("bars", pa.int64(), "bars that ended with it; of a purge, versions of bars that are gone"),
        _field("reason", pa.string(), "why, in the words of who did it"),
        _field("removal_id", pa.string(), "names it; it holds once an entry of the bars names it too"),
    ]
)

# Who stands under which symbol when: one row for each stretch of days of an instrument under one symbol of one source.
INSTRUMENTS = pa.schema(
    [
        *_SERIES,
        _field("valid_from", pa.date32(), "first day under this symbol; 1900-01-01 where nobody says"),
        _field("valid_until", pa.date32(), "first day without it; null while it stands", nullable=True),
        _field("instrument", pa.string(), "permanent id, the same for all symbols and sources of one instrument"),
        _field("asset_class", pa.string(), "equity, crypto, forex, future, option or prediction"),
        _field("name", pa.string(), "what people called it then", nullable=True),
        _field("exchange", pa.string(), "MIC of a stock exchange, such as XNYS, or the name of a venue", nullable=True),
        _field("currency", pa.string(), "of its prices", nullable=True),
        _field("vendor_symbol", pa.string(), "the vendor's own spelling", nullable=True),
        _field("vendor_id", pa.string(), "the vendor's own permanent id", nullable=True),
        _field("composite_figi", pa.string(), "FIGI of the instrument in its country", nullable=True),
        _field("share_class_figi", pa.string(), "FIGI of the share class in all countries", nullable=True),
        _field("isin", pa.string(), "international securities identification number", nullable=True),
        _field("root", pa.string(), "of a future: the code that all its contracts share, such as ES", nullable=True),
        _field("expiry", pa.date32(), "of a future or option: the last session in which it trades", nullable=True),
        _field("first_notice", pa.date32(), "of a future: the first day of notices of delivery", nullable=True),
        _field("tick_size", pa.decimal128(38, 18), "smallest step of its price", nullable=True),
        _field("multiplier", pa.decimal128(38, 18), "units of the underlying of one contract", nullable=True),
        _field("underlying", pa.string(), "of an option: symbol of what it is on", nullable=True),
        _field("option_right", pa.string(), "of an option: call or put", nullable=True),
        _field("strike", pa.decimal128(38, 18), "of an option: the price of exercise", nullable=True),
        _FETCHED_AT,
    ]
)

# When a continuous future goes from one contract to the next, where a user knows better than a rule.
ROLLS = pa.schema(
    [
        _field("source", pa.string(), "short name of whose table it is"),
        _field("symbol", pa.string(), "root of the chain, such as ES"),
        _field("session", pa.date32(), "first session in which the next contract is the front one"),
        _field("from_symbol", pa.string(), "the contract that is left"),
        _field("to_symbol", pa.string(), "the contract that comes"),
    ]
)

# What a service of identifiers answered to each question, so that nobody asks twice.
IDENTIFIER_ANSWERS = pa.schema(
    [
        _field("source", pa.string(), "who was asked, such as openfigi"),
        _field("question", pa.string(), "the question, as JSON"),
        _field("answer", pa.string(), "its answer, as JSON"),
        _FETCHED_AT,
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
