"""A lake with everything that the page shows, and a real server in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
import uvicorn

from gb_pipeline.api.app import build_app
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.results import BacktestRun, Results
from gb_pipeline.research.results.run import PinnedData
from gb_pipeline_tests.actions import dividend, received, split
from gb_pipeline_tests.bars import SetClock, changed, minutes
from gb_pipeline_tests.browser import browser  # noqa: F401 - a fixture

HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


def fill(root: Path) -> Lake:
    """Two sources: minutes with a gap, restated bars and a refused row that holds markup; days with a split and a dividend."""
    root.mkdir(parents=True, exist_ok=True)
    clock = SetClock(datetime(2024, 2, 1, tzinfo=UTC))
    lake = Lake(LakeStore.at(root, clock=clock))
    for symbol in ("BTC-USD", "ETH-USD"):
        bars = minutes("2024-01-02", 3 * 1440, symbol=symbol)
        lake.put(bars.filter(~pl.int_range(pl.len()).is_between(1500, 1519)), source="coinbase", resolution="1m")
    lake.put(changed(minutes("2024-01-02", 10), 3, high=HOSTILE), source="coinbase", resolution="1m")
    clock.now += timedelta(days=2)
    lake.put(changed(minutes("2024-01-02", 3 * 1440), 4300, close="140.25")[2880:], source="coinbase", resolution="1m")
    days = pl.DataFrame(
        {
            "timestamp": [datetime(2023, 6, 1, tzinfo=UTC) + timedelta(days=number) for number in range(120)],
            "symbol": "AAPL",
            **{name: [f"{100 + number % 7 + more}" for number in range(120)] for name, more in
               (("open", 1), ("high", 3), ("low", 0), ("close", 2))},
            "volume": [str(1000 + number) for number in range(120)],
        }
    )  # fmt: skip
    lake.put(days, source="mine", resolution="1d")
    told = received(split("2023-08-01", "2"), dividend("2023-09-01", "0.24"))
    lake.store.write_actions("mine", "AAPL", (date(2023, 1, 1), date(2024, 1, 1)), told)
    window = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    lake.store.record_fetches([
        FetchRecord("mine", "AAPL", "", *window, clock.now, FetchOutcome.OK, kind="corporate_actions")
    ])  # fmt: skip
    _save_runs(lake)
    return lake


def _save_runs(lake: Lake) -> None:
    """Three runs of two versions, of which the last read other data and has markup in its parameters."""
    pin = PinnedData.of(lake.pin("crossing", "coinbase:BTC-USD", "1m"))
    moments = [datetime(2024, 1, 2, tzinfo=UTC) + timedelta(hours=number) for number in range(50)]
    for number, (version, run_id) in enumerate((("1", "a"), ("1", "b"), ("2", "b"))):
        equity = pl.DataFrame({"timestamp": moments, "equity": [100.0 + number * step for step in range(50)]})
        Results(lake).save_backtest_data(
            BacktestRun(
                strategy="crossing", version=version, run_id=run_id, parameters={"window": 10 + number, "note": HOSTILE},
                metrics={"sharpe": 0.5 + number, "trades": 7}, equity=equity, data=[pin] if version == "2" else [],
                markets=["crypto"], tags=["nightly"], artifacts={"report.html": b"<script>"},
                environment={"gb_pipeline": "0.2.0", "dagster_run_id": "0123-4567"},
                started_at=datetime(2024, 2, 1, number, tzinfo=UTC), finished_at=datetime(2024, 2, 1, 12, tzinfo=UTC),
            )
        )  # fmt: skip


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    found = fill(tmp_path_factory.mktemp("page") / "lake")
    yield found
    found.close()


@contextmanager
def serving(lake: Lake, options: ServeOptions | None = None) -> Iterator[str]:
    """The app behind a real socket of this machine; gives its address."""
    app = build_app(lake, options or ServeOptions(dagster_url="http://127.0.0.1:3000"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until and thread.is_alive(), "the server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="session")
def site(lake: Lake) -> Iterator[str]:
    with serving(lake) as url:
        yield url


@pytest.fixture(scope="session")
def client(site: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site, follow_redirects=True, timeout=60) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """`serve(lake, options)`: the address of a server of a test's own."""
    with ExitStack() as stack:
        yield lambda *given: stack.enter_context(serving(*given))
