"""Adapters, judged by the real libraries, each in an environment of its own beside the packages of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.adapters import export_to_mlflow, from_backtrader, from_vectorbt, from_zipline
from gb_pipeline_tests.research.results.runs import make_run

BACKTRADER = """
import datetime, sys
import backtrader as bt
import pandas as pd
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.adapters import from_backtrader

class Cross(bt.Strategy):
    def next(self):
        if len(self) == 3:
            self.buy(size=2)
        if len(self) == 6:
            self.close()

days = pd.date_range("2024-01-02", periods=9, freq="D")
closes = [10.0, 11, 12, 13, 14, 15, 14, 13, 12]
frame = pd.DataFrame({"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0}, index=days)
cerebro = bt.Cerebro()
cerebro.adddata(bt.feeds.PandasData(dataname=frame, name="BTC-USD"))
cerebro.addstrategy(Cross)
cerebro.broker.setcash(100.0)
for analyzer in (bt.analyzers.TimeReturn, bt.analyzers.Transactions, bt.analyzers.DrawDown, bt.analyzers.TradeAnalyzer):
    cerebro.addanalyzer(analyzer)
with Results.open(sys.argv[1], create=True).record("cross", "1", run_id="a") as run:
    [done] = cerebro.run()
    run.add(from_backtrader(done))
"""
MLFLOW = """
import sys
from mlflow.tracking import MlflowClient
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.adapters import export_to_mlflow

results, place = Results.open(sys.argv[1]), sys.argv[1] + "/mlruns"
run_id = export_to_mlflow(results, "momentum/1.0/a", tracking_uri=place)
assert export_to_mlflow(results, "momentum/1.0/a", tracking_uri=place) == run_id
found = MlflowClient(tracking_uri=place).get_run(run_id)
assert found.data.metrics["sharpe"] == 1.25 and found.data.metrics["pnl"] == 12.5, found.data.metrics
assert found.data.params["window"] == "20.0" or found.data.params["window"] == "20", found.data.params
assert found.data.tags["gb.run"] == "momentum/1.0/a" and found.info.status == "FINISHED"
history = MlflowClient(tracking_uri=place).get_metric_history(run_id, "equity")
assert [item.step for item in history][:2] == [0, 1]
"""
ZIPLINE = """
import sys
import pandas as pd
from zipline.assets import Equity, ExchangeInfo
from zipline.finance.transaction import Transaction
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.adapters import from_zipline

exchange = ExchangeInfo("NYSE", "NYSE", "US")
asset = Equity(1, exchange, symbol="AAPL")
days = pd.date_range("2024-01-02 21:00", periods=2, freq="D", tz="UTC")
bought = Transaction(asset, 5, days[0], 10.5, "order-1").to_dict()
frame = pd.DataFrame(
    {
        "portfolio_value": [100.0, 101.5], "ending_cash": [47.5, 47.5], "returns": [0.0, 0.015], "sharpe": [float("nan"), 1.5],
        "transactions": [[bought], []],
        "positions": [[], [{"sid": asset, "amount": 5, "cost_basis": 10.5, "last_sale_price": 10.8}]],
    },
    index=days,
)
with Results.open(sys.argv[1], create=True).record("zip", "1", run_id="a") as run:
    run.add(from_zipline(frame))
"""
VECTORBT = """
import sys
import pandas as pd
import vectorbt as vbt
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.adapters import from_vectorbt

days = pd.date_range("2024-01-02", periods=6, freq="D", tz="UTC")
close = pd.Series([10.0, 11, 12, 13, 12, 11], index=days, name="BTC-USD")
entries, exits = close == 11, close == 13
portfolio = vbt.Portfolio.from_signals(close, entries & (days < days[3]), exits, init_cash=100.0, fees=0.001, freq="1D")
with Results.open(sys.argv[1], create=True).record("vbt", "1", run_id="a") as run:
    run.add(from_vectorbt(portfolio))
"""


def run_beside(tmp_path_factory: pytest.TempPathFactory, requirement: str, program: str, *arguments: object) -> None:
    """Run a program with a library that the project does not have, behind the packages that it has."""
    place = tmp_path_factory.getbasetemp().parent / "adapters" / requirement.partition("=")[0]
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the PATH")
    if not (place / "done").is_file():
        made = subprocess.run(
            [uv, "pip", "install", "-q", "--target", str(place), requirement],
            check=False,
            capture_output=True,
            timeout=600,
        )
        if made.returncode:
            pytest.skip(f"{requirement} does not install: {made.stderr.decode()[-200:]}")
        (place / "done").touch()
    code = f"import sys\nsys.path.append({str(place)!r})\n{program}"
    environment = os.environ | {
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    root = Path(__file__).parents[3]
    # vectorbt compiles itself when it is imported first.
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=root, check=False, capture_output=True, timeout=1_800,
        env=environment | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode()[-3000:]


@pytest.mark.long
def test_backtrader(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_beside(tmp_path_factory, "backtrader==1.9.78.123", BACKTRADER, tmp_path)
    loaded = Results.open(tmp_path).load_backtest_data("cross/1/a")
    assert loaded.fills is not None and loaded.equity is not None
    assert loaded.fills.select("symbol", "side", "quantity", "price").rows() == [
        ("BTC-USD", "buy", 2.0, 13.0), ("BTC-USD", "sell", 2.0, 14.0),
    ]  # fmt: skip
    assert loaded.metrics["final_value"] == 102.0
    assert loaded.equity["growth"][-1] == pytest.approx(1.02)
    assert loaded.metrics["tradeanalyzer.total.closed"] == 1


@pytest.mark.long
def test_mlflow(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    Results.open(tmp_path, create=True).save_backtest_data(
        make_run(equity=pl.DataFrame({"timestamp": make_run().equity["timestamp"], "equity": [1.0, 2.0, 3.0, 4.0]}))  # type: ignore[index]
    )
    run_beside(tmp_path_factory, "mlflow-skinny==3.17.2", MLFLOW, tmp_path)


@pytest.mark.long
def test_zipline(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_beside(tmp_path_factory, "zipline-reloaded==3.2.1", ZIPLINE, tmp_path)
    loaded = Results.open(tmp_path).load_backtest_data("zip/1/a")
    assert loaded.fills is not None and loaded.positions is not None and loaded.equity is not None
    assert loaded.fills.select("symbol", "side", "quantity", "price", "order_id").rows() == [
        ("AAPL", "buy", 5.0, 10.5, "order-1")
    ]
    assert loaded.positions.select("symbol", "quantity", "value").rows() == [("AAPL", 5.0, 54.0)]
    assert loaded.equity.select("equity", "cash").rows() == [(100.0, 47.5), (101.5, 47.5)]
    assert loaded.metrics["sharpe"] == 1.5


@pytest.mark.long
def test_vectorbt(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_beside(tmp_path_factory, "vectorbt==1.2.0", VECTORBT, tmp_path)
    loaded = Results.open(tmp_path).load_backtest_data("vbt/1/a")
    assert loaded.fills is not None and loaded.equity is not None
    assert loaded.fills.select("symbol", "side", "price").rows() == [
        ("BTC-USD", "buy", 11.0),
        ("BTC-USD", "sell", 13.0),
    ]
    assert loaded.equity["equity"][0] == 100.0
    assert loaded.metrics["Total Trades"] == 1


def test_what_is_no_result_of_a_tool_is_refused(tmp_path: Path) -> None:
    for adapter in (from_backtrader, from_vectorbt, from_zipline):
        with pytest.raises(ConfigError, match="has no"):
            adapter({"not": "a result"})
    results = Results.open(tmp_path, create=True)
    results.save_backtest_data(make_run())
    with pytest.raises(ConfigError, match="MLflow is not installed"):
        export_to_mlflow(results, "momentum/1.0/a", tracking_uri=str(tmp_path / "mlruns"))
