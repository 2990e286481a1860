"""A provider that cannot be used fails the runs of its own source, says so on the page, and is no matter to the other sources."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

PLUGIN = "raise RuntimeError('made for an older version')"
ROWS = "timestamp,open,high,low,close,volume\n2024-01-03,10,11,9,10.5,1000\n"


def equities(provider: str) -> dict:
    return {
        "provider": provider, "asset_class": "equity", "calendar": "XNYS", "start": "2024-01-02", "end": "2024-01-05",
        "symbols": ["AAPL"], "resolutions": ["1d"], "grain": "day", "options": {"path": "{symbol}.csv"},
    }  # fmt: skip


@pytest.fixture
def bench(build_bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three sources, of which one has a provider of another package, as pip installed it, that cannot be imported."""
    (tmp_path / "gb_old.py").write_text(PLUGIN, encoding="utf-8")
    about = tmp_path / "gb_old-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gb-old\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[gb_pipeline.providers]\nold = gb_old:Old\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "AAPL.csv").write_text(ROWS, encoding="utf-8")
    return build_bench(
        resolutions=["1d"],
        grain="day",
        symbols=["BTC-USDT"],
        also={"files": equities("csv"), "broken": equities("old")},
    )


def test_the_other_sources_work_and_the_page_says_which_one_does_not(bench) -> None:
    assert bench.run("sim/bars_1d/BTC-USDT", partitions="2024-01-03").success
    assert bench.run("files/bars_1d/AAPL", partitions="2024-01-03").success
    failed = bench.run("broken/bars_1d/AAPL", partitions="2024-01-03")
    assert not failed.success
    why = "provider old (gb_old:Old) cannot be imported: made for an older version"
    told = [event.dagster_event.step_failure_data.error_display_string
            for event in bench.instance.all_logs(failed.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]  # fmt: skip
    assert why in told[0]

    graph = bench.definitions.get_repository_def().asset_graph
    broken = {key.to_user_string() for key in graph.get_all_asset_keys() if why in (graph.get(key).description or "")}
    assert broken == {"broken/bars_1d", "broken/bars_1d/AAPL"}
