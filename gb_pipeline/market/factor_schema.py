"""This module declares the columns of stored factors, as `schema` does those of bars.

Factors are kept long: one row for each number, flag or group of a symbol in a session. What they were computed from stands in one
row for each computation.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl
import pyarrow as pa

from gb_pipeline.market.schema import TIMESTAMP, column


class FactorKind(StrEnum):
    """What a value is: a number, yes or no (1 and 0), the number of a group such as a quantile, or the name of a group."""

    NUMBER = "number"
    FLAG = "flag"
    GROUP = "group"
    TEXT = "text"


# As what each kind is read again.
POLARS_TYPES: dict[str, pl.DataType] = {
    FactorKind.NUMBER: pl.Float64(),
    FactorKind.FLAG: pl.Boolean(),
    FactorKind.GROUP: pl.Int32(),
    FactorKind.TEXT: pl.String(),
}

# One row is (factor_set, factor, symbol, session); storage keeps every version of it.
FACTORS = pa.schema(
    [
        column("factor_set", pa.string(), "name of the set in gb.yaml"),
        column("factor", pa.string(), "name of the factor in its set"),
        column("symbol", pa.string(), "canonical code of the instrument"),
        column("session", pa.date32(), "the session that can be traded on it: it is known before this one opens"),
        column("kind", pa.string(), "number, flag (1 and 0), group (a whole number) or text"),
        column("value", pa.float64(), "the number; null where none can be computed", nullable=True),
        column("text", pa.string(), "the value of factors that are texts", nullable=True),
        column("withdrawn", pa.bool_(), "true from the moment on at which the set has no such row", nullable=True),
        column("data_as_of", TIMESTAMP, "the bars behind it are those that were known at this moment"),
    ]
)

# One computation of a stretch of sessions: what was read, and what came of it.
FACTOR_RUNS = pa.schema(
    [
        column("factor_set", pa.string(), "name of the set in gb.yaml"),
        column("start", pa.date32(), "first session of the stretch, or the day that it begins with"),
        column("end", pa.date32(), "the day that it ends before"),
        column("columns", pa.list_(pa.string()), "names of the factors, in their order"),
        column("definition", pa.string(), "digest of what gb.yaml says of the set"),
        column("data_as_of", TIMESTAMP, "what was known at this moment was read"),
        column("data_fingerprint", pa.string(), "of the bars that were read; empty where there were none"),
        column("data_start", pa.date32(), "first day of the bars that were read"),
        column("data_end", pa.date32(), "the day that these end before"),
        column("sessions", pa.int64(), "sessions with rows"),
        column("rows", pa.int64(), "symbols and sessions"),
        column("nulls", pa.int64(), "values that could not be computed"),
        column("computed_at", TIMESTAMP, "when it was computed"),
        column("run_id", pa.string(), "the run that computed it, where there is one", nullable=True),
    ]
)
