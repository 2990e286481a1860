"""The snippets of docs/adapters.md for backtrader and vectorbt, run by these engines, against a loop over the lake's closes."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks.peers.environment import peers_python
from gb_pipeline import Lake
from gb_pipeline_tests.bars import at

pytestmark = pytest.mark.long
HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "adapters.md"
SYMBOLS = ["BTC-USD", "ETH-USD"]
FAST, SLOW = 5, 20


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("lake") / "data", create=True)
    random = np.random.default_rng(7)
    for symbol in SYMBOLS:
        closes = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.01, 500))), 4)
        frame = pl.DataFrame(
            {
                "timestamp": pl.datetime_range(
                    at("2024-01-01"), at("2024-01-01") + timedelta(hours=499), "1h", time_unit="us", eager=True
                ),
                **dict.fromkeys(("open", "high", "low", "close"), closes),
                "volume": np.ones(500),
            }
        )
        lake.put(frame, source="coinbase", resolution="1h", symbol=symbol)
    return lake


def run(engine: str, lake: Lake, folder: Path) -> Any:
    """What the engine says of the snippet of the documentation that imports it."""
    blocks = re.findall(
        r"^```python proven-by=[^\n]*test_other_engines[^\n]*\n(.*?)^```$", DOCS.read_text("utf-8"), re.S | re.M
    )
    [snippet] = [block for block in blocks if block.startswith(f"import {engine}")]
    (folder / "snippet.py").write_text(snippet, encoding="utf-8")
    columns = ["timestamp", "open", "high", "low", "close", "volume"]
    pl.from_pandas(lake.pandas("BTC-USD", "1h", columns=columns), include_index=True).write_parquet(
        folder / "pandas.parquet"
    )
    lake.wide("close", SYMBOLS, "1h").write_parquet(folder / "wide.parquet")
    python = str(peers_python(HERE / "engines.txt"))
    command = [python, str(HERE / "run_in_engine.py"), engine, str(folder / "snippet.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def above(closes: np.ndarray) -> np.ndarray:
    """Whether the fast average is above the slow one, from the first bar on that both have."""
    averages = [np.convolve(closes, np.ones(count) / count, "valid") for count in (FAST, SLOW)]
    return averages[0][SLOW - FAST :] > averages[1]


def closes_of(lake: Lake, symbol: str) -> np.ndarray:
    return lake.bars(symbol, "1h", as_float=True)["close"].to_numpy()


def test_backtrader_sees_the_lakes_closes_and_signals_where_averages_cross(lake: Lake, tmp_path: Path) -> None:
    told = run("backtrader", lake, tmp_path)
    bars = lake.bars("BTC-USD", "1h", as_float=True)
    closes = bars["close"].to_numpy()
    assert told["closes"] == closes.tolist()
    position = above(closes)
    crossed = np.flatnonzero(position[1:] != position[:-1]) + 1
    stamps = bars["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S").to_list()
    expected = [[stamps[i + SLOW - 1], closes[i + SLOW - 1], 1.0 if position[i] else -1.0] for i in crossed]
    assert told["signals"] == expected and len(expected) > 10


def test_vectorbt_earns_what_a_loop_over_the_closes_does(lake: Lake, tmp_path: Path) -> None:
    told = run("vectorbt", lake, tmp_path)
    for symbol in SYMBOLS:
        closes = closes_of(lake, symbol)
        position = above(closes)
        growth = closes[SLOW:] / closes[SLOW - 1 : -1]
        assert told[symbol] == pytest.approx(np.prod(np.where(position[:-1], growth, 1.0)) - 1, rel=1e-9)
