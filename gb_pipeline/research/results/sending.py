"""This module writes runs as Arrow streams, for the way to another machine: a row per run, with its frames as streams within it.

What was derived of a run, such as its digest, is not sent: whoever receives it prepares it anew, see `receiving`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import WindowRefused
from gb_pipeline.research.results.canonical import to_json
from gb_pipeline.research.results.loading import FRAMES
from gb_pipeline.research.results.prepared import PreparedRun
from gb_pipeline.research.results.run import BacktestRun

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
NAMES = ("strategy", "version", "run_id")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in NAMES),
        # JSON with the fields of `BacktestRun` that are no frames and no artifacts, in the notation of `to_json`.
        ("document", pa.string()),
        *((name, pa.binary()) for name in FRAMES),
        ("artifacts", pa.list_(pa.struct([("name", pa.string()), ("data", pa.binary())]))),
    ]
)
MOST_RUNS = 1_000
# A stream is sent from so many bytes on; a larger run goes alone.
_FULL = 8 << 20


def encode_runs(runs: Iterable[tuple[BacktestRun, PreparedRun]]) -> Iterator[bytes]:
    """Runs as streams that can be sent one by one.

    Args:
        runs: each as it was given, and as it was prepared.

    Yields:
        Streams of up to 1,000 runs and about 8 MB.

    Raises:
        WindowRefused: a frame has integers of 128 bits, which Arrow has not.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    for run, prepared in runs:
        row = _row(run, prepared)
        grown = sum(len(row[name] or b"") for name in ("document", *FRAMES))
        grown += sum(map(len, prepared.artifacts.values()))
        if rows and (size + grown > _FULL or len(rows) >= MOST_RUNS):
            yield _stream(rows)
            rows, size = [], 0
        rows.append(row)
        size += grown
    if rows:
        yield _stream(rows)


def _row(run: BacktestRun, prepared: PreparedRun) -> dict[str, Any]:
    row = prepared.row
    texts = {name: row[name] for name in ("parameters", "data", "seeds", "environment", "timings")}
    texts["metrics"] = to_json(run.metrics, "metrics")
    for name in ("markets", "tags", "state", "error", "started_at", "finished_at"):
        texts[name] = to_json(row[name], name)
    return {
        **{name: row[name] for name in NAMES},
        "document": "{" + ",".join(f'"{name}":{text}' for name, text in texts.items()) + "}",
        **{name: _frame(getattr(run, name), f"{name} of {run.name}") for name in FRAMES},
        "artifacts": [{"name": name, "data": data} for name, data in prepared.artifacts.items()],
    }


def _frame(frame: pl.DataFrame | None, where: str) -> bytes | None:
    if frame is None:
        return None
    if wide := [name for name, kind in frame.schema.items() if kind in (pl.Int128, pl.UInt128)]:
        raise WindowRefused(
            f"{where}: {wide[0]} is of type {frame.schema[wide[0]]}",
            fix="cast it to Int64 or a decimal, or save it locally",
        )
    written = io.BytesIO()
    frame.cast({pl.Categorical: pl.String, pl.Enum: pl.String}).write_ipc_stream(
        written, compat_level=pl.CompatLevel.oldest()
    )
    return written.getvalue()


def _stream(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return sink.getvalue()
