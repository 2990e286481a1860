"""`gb serve` as a process of its own, and a lake that has something of everything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline import Lake
from gb_pipeline.api.tokens import TokenStore
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.window import Window
from gb_pipeline_tests import actions
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.streams import commit_interval, commit_rows, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
SCOPES = ("read", "write", "sql")


def make_token(root: Path, *scopes: str) -> str:
    """A token for the lake at a folder."""
    return TokenStore(root / "state").create("test", scopes or SCOPES)[1]


@dataclass
class Server:
    """A server that runs, and where it answers."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


def start_server(root: Path, folder: Path, *options: str) -> Server:
    """Run `gb serve` until it answers."""
    ready, log = folder / "url.txt", folder / "serve.log"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "gb_pipeline.cli", "serve", "--lake", str(root), "--ready-file", str(ready)]
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen([*command, "--port", "0", *options], stdout=file, stderr=file, text=True)
    deadline = time.monotonic() + 120
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(log.read_text(encoding="utf-8"))
        time.sleep(0.05)
    return Server(process, ready.read_text(encoding="utf-8"), log)


@contextmanager
def serving(root: Path, folder: Path, *options: str) -> Iterator[Server]:
    """The same, stopped at the end."""
    server = start_server(root, folder, *options)
    try:
        yield server
    finally:
        server.stop()


def children_of(pid: int) -> list[int]:
    """The processes that threads of another one started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]


def minutes(start: str, count: int, *, base: int = 100) -> pl.DataFrame:
    """Bars of a minute with prices that differ."""
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    number = pl.int_range(count, eager=True)
    close = (number % 37 + base).cast(pl.String) + "." + (number % 89).cast(pl.String).str.zfill(2)
    stamps = pl.datetime_range(first, first + timedelta(minutes=count - 1), "1m", time_unit="us", eager=True)
    return pl.DataFrame(
        {"timestamp": stamps, "open": close, "high": close, "low": close, "close": close, "volume": ["1.5"] * count}
    )


def fill_lake(root: Path) -> Lake:
    """Bars of two sources and three resolutions with a gap, a restatement and a refused row; splits; trades and a book."""
    lake = Lake.open(root, create=True)
    clock = SetClock(datetime(2024, 1, 5, tzinfo=UTC))
    lake.store.clock = clock
    for symbol, base in (("BTC-USD", 40_000), ("ETH-USD", 2_000)):
        window = Window.of("2024-01-02", "2024-01-04")
        frame = pl.concat([minutes("2024-01-02", 1400, base=base), minutes("2024-01-03", 1440, base=base)])
        lake.put(frame, source="sim", resolution="1m", symbol=symbol, window=window)
    clock.now = datetime(2024, 1, 6, tzinfo=UTC)
    changed = minutes("2024-01-03", 1440, base=2_000).with_columns(
        close=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("2001")).otherwise("close"),
        high=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("2020")).otherwise("high"),
        volume=pl.when(pl.int_range(pl.len()) == 9).then(pl.lit("-1")).otherwise("volume"),
    )
    lake.put(changed, source="sim", resolution="1m", symbol="ETH-USD", window=Window.of("2024-01-03", "2024-01-04"))
    days = pl.DataFrame(
        {
            "date": pl.date_range(datetime(2024, 1, 2), datetime(2024, 1, 5), eager=True),
            **{name: ["100", "101", "51", "52"] for name in ("open", "high", "low", "close")},
            "volume": ["10"] * 4,
        }
    )
    lake.put(days, source="yahoo", resolution="1d", symbol="AAPL", calendar="XNYS")
    window = Window.of("2020-01-01", "2025-01-01")
    lake.store.write_actions("yahoo", "AAPL", window, actions.received(actions.split("2024-01-04", "2")))
    commit_trades(lake.store, [NINE + 5, NINE + 7, NINE + 9])
    commit_interval(lake.store, NINE, NINE + 100, messages=3)
    commit_watermark(lake.store, NINE + 100)
    sides = (("bid", "99", 0), ("ask", "101", 1))
    commit_rows(lake.store, stream_dataset("book_snapshots"), [_level(NINE, *side) for side in sides])
    commit_rows(lake.store, stream_dataset("book_updates"), [_level(NINE + 10, "bid", "100", 0)])
    commit_interval(lake.store, NINE - 10, NINE + 90, source="venue", dataset="book_updates")
    commit_watermark(lake.store, NINE + 90, source="venue", dataset="book_updates")
    return lake


def _level(at: int, side: str, price: str, ordinal: int) -> dict[str, Any]:
    return {
        "source": "venue", "symbol": "BTC-USD", "at": at, "exchange_time": at, "receive_time": at + 1_000, "side": side,
        "price": Decimal(price), "size": Decimal(2), "ordinal": ordinal, "collector": "one", "reason": "subscribed",
    }  # fmt: skip
