"""This module declares the columns of the tables about instruments, as `schema` does those of bars and of what is known of them."""

from __future__ import annotations

import pyarrow as pa

from gb_pipeline.market.schema import FETCHED_AT_COLUMN, SERIES_COLUMNS, column

# Who stands under which symbol when: one row for each stretch of days of an instrument under one symbol of one source.
INSTRUMENTS = pa.schema(
    [
        *SERIES_COLUMNS,
        column("valid_from", pa.date32(), "first day under this symbol; 1900-01-01 where nobody says"),
        column("valid_until", pa.date32(), "first day without it; null while it stands", nullable=True),
        column("instrument", pa.string(), "permanent id, the same for all symbols and sources of one instrument"),
        column("asset_class", pa.string(), "equity, crypto, forex, future, option or prediction"),
        column("name", pa.string(), "what people called it then", nullable=True),
        column("exchange", pa.string(), "MIC of a stock exchange, such as XNYS, or the name of a venue", nullable=True),
        column("currency", pa.string(), "of its prices", nullable=True),
        column("vendor_symbol", pa.string(), "the vendor's own spelling", nullable=True),
        column("vendor_id", pa.string(), "the vendor's own permanent id", nullable=True),
        column("composite_figi", pa.string(), "FIGI of the instrument in its country", nullable=True),
        column("share_class_figi", pa.string(), "FIGI of the share class in all countries", nullable=True),
        column("isin", pa.string(), "international securities identification number", nullable=True),
        column("root", pa.string(), "of a future: the code that all its contracts share, such as ES", nullable=True),
        column("expiry", pa.date32(), "of a future or option: the last session in which it trades", nullable=True),
        column("first_notice", pa.date32(), "of a future: the first day of notices of delivery", nullable=True),
        column("tick_size", pa.decimal128(38, 18), "smallest step of its price", nullable=True),
        column("multiplier", pa.decimal128(38, 18), "units of the underlying of one contract", nullable=True),
        column("underlying", pa.string(), "of an option: symbol of what it is on", nullable=True),
        column("option_right", pa.string(), "of an option: call or put", nullable=True),
        column("strike", pa.decimal128(38, 18), "of an option: the price of exercise", nullable=True),
        FETCHED_AT_COLUMN,
    ]
)

# When a continuous future goes from one contract to the next, where a user knows better than a rule.
ROLLS = pa.schema(
    [
        column("source", pa.string(), "short name of whose table it is"),
        column("symbol", pa.string(), "root of the chain, such as ES"),
        column("session", pa.date32(), "first session in which the next contract is the front one"),
        column("from_symbol", pa.string(), "the contract that is left"),
        column("to_symbol", pa.string(), "the contract that comes"),
    ]
)

# What a service of identifiers answered to each question, so that nobody asks twice.
IDENTIFIER_ANSWERS = pa.schema(
    [
        column("source", pa.string(), "who was asked, such as openfigi"),
        column("question", pa.string(), "the question, as JSON"),
        column("answer", pa.string(), "its answer, as JSON"),
        FETCHED_AT_COLUMN,
    ]
)
