"""The `definitions.py` that the guide on operating shows, beside a gb.yaml, as Dagster loads and runs it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.orchestration.conftest import Bench, open_instance

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
DAY = "2024-01-02"


def test_the_definitions_of_the_guide_run(
    tmp_path: Path, empty_instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [shown] = re.findall(r"^```python [^\n]+\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    monkeypatch.setenv("GB_CONFIG", str(tmp_path))
    shutil.copytree(empty_instance, tmp_path, dirs_exist_ok=True)
    symbols = ["BTC-USD", "ETH-USD"]
    with Simulation(seed=5, symbols=symbols) as simulation, open_instance(tmp_path) as instance:
        source = {
            "provider": "ccxt", "options": {"base_url": simulation.url}, "asset_class": "crypto", "start": "2024-01-01",
            "end": "2024-01-04", "gap_policy": "no_trade", "symbols": symbols,
        }  # fmt: skip
        (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"coinbase": source}}), encoding="utf-8")
        module: dict[str, Any] = {"__name__": "definitions"}
        exec(compile(shown, "definitions.py", "exec", dont_inherit=True), module)
        defs: dg.Definitions = module["defs"]
        dg.Definitions.validate_loadable(defs)
        bench = Bench(Settings.load(tmp_path), defs, instance, simulation)

        bars = [f"coinbase/bars_1m/{symbol}" for symbol in symbols]
        assert bench.run(*bars, partitions=DAY).success
        result = bench.run("turnover", partitions=DAY)
        assert result.success
        assert bench.materialized("turnover") == {DAY}
        said = "\n".join(event.user_message for event in instance.all_logs(result.run_id))
        stored = Lake.open(bench.settings.lake).bars(symbols, "1m", as_float=True)
        assert stored["timestamp"].dt.date().cast(str).unique().to_list() == [DAY]
        assert all(symbol in said for symbol in symbols)
