"""This module reads runs that another machine sent, see `sending`. Nothing of them is believed, and what is read is bounded.

A row becomes a `BacktestRun` as a person would have made it, and is prepared as such: checked, and its digests computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from gb_pipeline.errors import FormatRefused, GbError
from gb_pipeline.market.plain_arrow import NotPlain, read_plain
from gb_pipeline.research.results.canonical import from_json
from gb_pipeline.research.results.loading import FRAMES
from gb_pipeline.research.results.prepared import PreparedRun, prepare
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunState
from gb_pipeline.research.results.sending import MOST_RUNS, NAMES, SCHEMA

_FIX = "send an Arrow IPC stream as docs/results.md has it, without compression and dictionaries"
_TYPES = (
    pa.types.is_integer, pa.types.is_float32, pa.types.is_float64, pa.types.is_decimal128, pa.types.is_date32,
    pa.types.is_timestamp, pa.types.is_string, pa.types.is_large_string, pa.types.is_null,
)  # fmt: skip
# What values of a wrong kind raise on their way; some of Polars are no `Exception`.
_WRONG = (
    ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError,
    pl.exceptions.PolarsError, pl.exceptions.PanicException,
)  # fmt: skip


class _Pin(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    pin: str
    as_of: datetime
    fingerprint: str
    resolution: str
    start: datetime | None = None
    end: datetime | None = None
    series: dict[str, str] = {}


class _Document(BaseModel):
    """What is not said here of the values is found when the run is prepared."""

    model_config = ConfigDict(extra="forbid", strict=True)

    parameters: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    data: list[_Pin] = []
    markets: list[str] = []
    seeds: dict[str, Any] = {}
    # Where the receiver runs says nothing of the run.
    environment: dict[str, Any] = {}
    timings: dict[str, Any] = {}
    tags: list[str] = []
    state: str = RunState.SUCCEEDED.value
    error: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def receive_runs(data: bytes, now: datetime, *, most_values: int, most_document: int) -> list[PreparedRun]:
    """The runs of a stream, prepared.

    Args:
        data: the stream.
        now: when a run began and ended, where it does not say.
        most_values: rows times columns of all frames together; up to 250 bytes of memory are taken for each.
        most_document: bytes of the document of one run.

    Raises:
        FormatRefused: it is no such stream, or larger than it may be.
        ConfigError, WindowRefused, NaiveTimestamp: something of a run cannot be kept; see `prepare`.
    """
    rows = _Rows(most_values)
    prepared: list[PreparedRun] = []
    try:
        table = read_plain(pa.py_buffer(data), _allow_runs, most_values=MOST_RUNS * len(SCHEMA))
        for number in range(table.num_rows):
            row = {name: table.column(name)[number] for name in SCHEMA.names}
            prepared.append(_prepare(row, rows, number, now, most_document))
    except NotPlain as error:
        raise FormatRefused(f"the runs cannot be read: {error}", fix=_FIX) from None
    if not prepared:
        raise FormatRefused("there is no run in it", fix=_FIX)
    return prepared


class _Rows:
    """Counts the values of all frames of a request."""

    def __init__(self, most: int) -> None:
        self.left = most

    def read(self, data: pa.Buffer) -> pl.DataFrame:
        # A copy of its own lies at an address that numbers may have.
        table = read_plain(pa.py_buffer(data.to_pybytes()), _allow_frame, most_values=self.left)
        self.left -= table.num_rows * max(1, table.num_columns)
        return pl.DataFrame(table)


def _prepare(row: Mapping[str, Any], rows: _Rows, number: int, now: datetime, most_document: int) -> PreparedRun:
    where = f"run {number + 1} of the stream"
    try:
        run = BacktestRun(
            **_names(row), **_document(row, most_document), **_frames(row, rows), artifacts=_artifacts(row)
        )
        return prepare(run, now)
    except GbError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise FormatRefused(f"{where}: {place}: {first['msg']}"[:300], fix=_FIX) from None
    except NotPlain as error:
        raise FormatRefused(f"a frame of {where} cannot be read: {error}", fix=_FIX) from None
    except _WRONG as error:
        told = " ".join(str(error).split())[:200]
        raise FormatRefused(f"{where} cannot be read: {type(error).__name__}: {told}", fix=_FIX) from None


def _names(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name].as_py() for name in NAMES}


def _document(row: Mapping[str, Any], most: int) -> dict[str, Any]:
    buffer = row["document"].as_buffer()
    if buffer is None:
        return {}
    if buffer.size > most:
        raise FormatRefused(
            f"the document of a run has {buffer.size:,} bytes, and at most {most:,} are read",
            fix="keep what is so large as an artifact",
        )
    read = from_json(row["document"].as_py())
    checked = _Document.model_validate(read)
    told = {name: getattr(checked, name) for name in _Document.model_fields}
    return {**told, "data": [PinnedData(**pin.model_dump()) for pin in checked.data]}


def _frames(row: Mapping[str, Any], rows: _Rows) -> dict[str, Any]:
    return {name: rows.read(row[name].as_buffer()) for name in FRAMES if row[name].is_valid}


def _artifacts(row: Mapping[str, Any]) -> dict[str, bytes]:
    listed: list[dict[str, Any]] = row["artifacts"].as_py() or []
    found = {item["name"]: item["data"] for item in listed}
    if len(found) < len(listed):
        raise ValueError("two artifacts have one name")
    return found


def _allow_runs(schema: pa.Schema) -> None:
    if schema.names != SCHEMA.names or schema.types != SCHEMA.types:
        told = [f"{field.name[:40]} ({str(field.type)[:80]})" for field in schema]
        wanted = [f"{field.name} ({field.type})" for field in SCHEMA]
        wrong = next((pair for pair in zip(told, wanted, strict=False) if pair[0] != pair[1]), None)
        where = f"{wrong[0]} where {wrong[1]} should be" if wrong else f"{len(told)} where {len(wanted)} should be"
        raise NotPlain(f"its columns are other ones: {where}")


def _allow_frame(schema: pa.Schema) -> None:
    names = schema.names
    if len(set(names)) < len(names):
        raise NotPlain("two columns have one name")
    for field in schema:
        if not any(is_type(field.type) for is_type in _TYPES):
            raise NotPlain(f"the column {field.name[:40]} is of type {str(field.type)[:40]}")
