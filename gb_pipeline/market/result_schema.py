"""This module declares the columns of what backtests found: runs, metrics, equity, fills, positions, and notes about versions.

Numbers are kept as they were given: a float in a Float64 column, a decimal or an integer in a `Decimal(38,18)` beside it, whose
name ends in `_exact`. Of the two one is null, unless the number itself is. `run_key` is made of the three names of a run, so that
its rows lie together; `save_id` tells the rows of one save from those of one that was cut off.
"""

from __future__ import annotations

import pyarrow as pa

from gb_pipeline.market.schema import TIMESTAMP, column

# Digits of exact numbers.
EXACT_DIGITS = (38, 18)
_EXACT = pa.decimal128(*EXACT_DIGITS)
_PARAMETER = pa.struct([pa.field("name", pa.string()), pa.field("number", pa.float64()), pa.field("text", pa.string())])
_METRIC = pa.struct([pa.field("name", pa.string()), pa.field("value", pa.float64())])
_NAMES = [
    column("shard", pa.string(), "hive partition: one of sixteen, by the name of the strategy"),
    column("strategy", pa.string(), "name of the strategy"),
    column("version", pa.string(), "version of its code"),
    column("run_id", pa.string(), "name of the run within the version"),
    column("run_key", pa.int64(), "made of the three names; rows of a run lie together by it"),
    column("save_id", pa.int64(), "which save wrote the row; rows of a save without a row in `runs` do not count"),
    column("started_at", TIMESTAMP, "when the run began"),
]


def _number(name: str, meaning: str) -> list[pa.Field]:
    return [
        column(name, pa.float64(), f"{meaning}, where it was given as a float", nullable=True),
        column(f"{name}_exact", _EXACT, f"{meaning}, where it was given as a decimal or an integer", nullable=True),
    ]


RUNS = pa.schema(
    [
        *_NAMES,
        column("finished_at", TIMESTAMP, "when the run ended; null where nobody said", nullable=True),
        column("state", pa.string(), "succeeded or failed"),
        column("error", pa.string(), "why it failed", nullable=True),
        column("markets", pa.list_(pa.string()), "markets that it traded"),
        column("tags", pa.list_(pa.string()), "tags that it was saved with"),
        column("parameters", pa.string(), "parameters as canonical JSON with types"),
        column("parameter_values", pa.list_(_PARAMETER), "the same flattened, for queries: a number, or JSON"),
        column("metric_values", pa.list_(_METRIC), "metrics as the nearest floats, for queries"),
        column("seeds", pa.string(), "seeds of random numbers as JSON"),
        column("environment", pa.string(), "Python, hash of the lock file, git commit and more as JSON"),
        column("data", pa.string(), "pins of the data with their fingerprints as JSON"),
        column("data_fingerprint", pa.string(), "SHA-256 over the fingerprints of the pins; empty without data"),
        column("artifacts", pa.string(), "SHA-256 and size of each artifact by name as JSON"),
        column("timings", pa.string(), "seconds by name as JSON"),
        column("contents", pa.string(), "columns, types, rows and digest of each part as JSON"),
        column("digest", pa.string(), "SHA-256 of the whole content"),
    ]
)
METRICS = pa.schema(
    [*_NAMES, column("name", pa.string(), "of the metric"), *_number("value", "its value")],
)
EQUITY = pa.schema(
    [
        *_NAMES,
        column("name", pa.string(), "of the curve: equity, cash, returns, ..."),
        column("timestamp", TIMESTAMP, "moment of the value"),
        *_number("value", "value of the curve"),
    ]
)
FILLS = pa.schema(
    [
        *_NAMES,
        column("ordinal", pa.int64(), "place of the fill in the run, from 0"),
        column("timestamp", TIMESTAMP, "when it was filled"),
        column("symbol", pa.string(), "what was traded"),
        column("side", pa.string(), "buy or sell", nullable=True),
        *_number("quantity", "filled quantity"),
        *_number("price", "price of the fill"),
        *_number("fee", "what it cost"),
        column("currency", pa.string(), "of price and fee", nullable=True),
        column("order_id", pa.string(), "of the order", nullable=True),
    ]
)
POSITIONS = pa.schema(
    [
        *_NAMES,
        column("ordinal", pa.int64(), "place of the row in the run, from 0"),
        column("timestamp", TIMESTAMP, "moment of the position"),
        column("symbol", pa.string(), "what is held"),
        *_number("quantity", "held quantity, negative where it is short"),
        *_number("price", "price that it is valued at"),
        *_number("value", "value of the position"),
        *_number("cost_basis", "what a unit cost"),
    ]
)
RESULT_NOTES = pa.schema(
    [
        column("shard", pa.string(), "hive partition: one of sixteen, by the name of the strategy"),
        column("strategy", pa.string(), "name of the strategy"),
        column("version", pa.string(), "version that the note is about"),
        column("run_id", pa.string(), "run that it is about; null for the whole version", nullable=True),
        column("note_id", pa.string(), "of the note"),
        column("kind", pa.string(), "metadata, tag, untag, retire or restore"),
        column("name", pa.string(), "the tag, or the key of the metadata", nullable=True),
        column("text", pa.string(), "the value as canonical JSON, or the reason", nullable=True),
        column("noted_at", TIMESTAMP, "when it was noted"),
    ]
)
