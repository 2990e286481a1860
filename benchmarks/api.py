"""How fast bars are downloaded from `gb serve` as Arrow over loopback, and what server and client take of the processors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from benchmarks.measurement import Measurement
from gb_pipeline import Lake, RemoteLake
from gb_pipeline_tests.serving import make_token, serving

REPEATS = 5
_COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]
TARGET = 5.0


def measure(thousands: int = 5_000) -> Iterator[Measurement]:
    """So many thousand bars of a minute of four symbols: as they are stored, and as floats without the names."""
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        root = Path(folder) / "data"
        fill(root, thousands * 1000)
        token = make_token(root)
        with serving(root, Path(folder)) as server, RemoteLake(server.url, token) as lake:
            local, pid = Lake.open(root, cache=False), server.process.pid
            yield _download("decimals, all columns", lambda: lake.bars(None, "1m"), lambda: local.bars(None, "1m"), pid)
            yield _download(
                "floats of 6 columns",
                lambda: lake.bars(None, "1m", columns=_COLUMNS, as_float=True),
                lambda: local.bars(None, "1m", columns=_COLUMNS, as_float=True),
                pid,
            )


def fill(root: Path, rows: int) -> None:
    """Store so many bars of a minute, of four symbols."""
    lake = Lake.open(root, create=True)
    each = rows // 4
    first = datetime(2015, 1, 1, tzinfo=UTC)
    for symbol in ("AAA-USD", "BBB-USD", "CCC-USD", "DDD-USD"):
        stamps = pl.datetime_range(first, first + timedelta(minutes=each - 1), "1m", time_unit="us", eager=True)
        close = (pl.int_range(each, eager=True) % 9973 + 10_000).cast(pl.Decimal(18, 8))
        frame = pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close", "volume"), close)})
        lake.put(frame, source="bench", resolution="1m", symbol=symbol)


def _download(name: str, far: Callable[[], pl.DataFrame], near: Callable[[], pl.DataFrame], server: int) -> Measurement:
    rows = far().height
    began, own, theirs = time.perf_counter(), time.process_time(), processor_seconds(server)
    for _ in range(REPEATS):
        assert far().height == rows
    millions = rows * REPEATS / 1e6
    speed = millions / (time.perf_counter() - began)
    client, serving_seconds = time.process_time() - own, processor_seconds(server) - theirs
    own = time.process_time()
    for _ in range(REPEATS):
        near()
    here = time.process_time() - own
    told = (
        f"processor seconds per million rows: server {serving_seconds / millions:.2f}, client {client / millions:.2f}; "
        f"`Lake` itself {here / millions:.2f}"
    )
    return Measurement(f"API, Arrow: {name}, {rows:,} rows", speed, "M rows/s", f">= {TARGET:g}", speed >= TARGET, told)


def processor_seconds(process: int) -> float:
    """Seconds of processor time that a process has taken, those of the system for it among them."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
