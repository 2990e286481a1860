"""Queries find exactly the runs that fulfil their conditions, however the index came about."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, ReadError
from gb_pipeline.research.results import Condition, Results, RunQuery
from gb_pipeline.research.results import index as index_module
from gb_pipeline_tests.research.results.runs import DAY, little

STATES = ("succeeded", "failed")


def _runs() -> list[dict[str, Any]]:
    return [
        {
            "strategy": f"s{number % 3}", "version": str(number % 2), "run_id": str(number),
            "parameters": {"window": number % 5, "kind": "ab"[number % 2], "deep": {"x": number / 4}},
            "metrics": {"sharpe": float(number % 7)} | ({"rare": number} if number % 4 == 0 else {}),
            "markets": ["crypto"] if number % 2 else ["crypto", "XNYS"], "tags": ["t"] if number % 3 == 0 else [],
            "state": STATES[number % 5 == 0], "started_at": DAY + timedelta(days=20 * number), "finished_at": None,
        }
        for number in range(40)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Forty runs, in several commits."""
    opened = Results.open(tmp_path_factory.mktemp("lake"), create=True)
    runs = [
        little(**{key: value for key, value in item.items() if key != "finished_at"}, finished_at=item["started_at"])
        for item in _runs()
    ]
    for first in range(0, 40, 16):
        opened.save_many(runs[first : first + 16])
    return opened


def _ids(frame: pl.DataFrame) -> list[str]:
    return frame["run_id"].to_list()


@given(
    strategy=st.sampled_from([None, "s0", "s1", "nobody", ["s1", "s2"]]),
    version=st.sampled_from([None, "0", "1"]),
    market=st.sampled_from([None, "crypto", "XNYS", ["crypto", "XNYS"]]),
    state=st.sampled_from([None, *STATES]),
    window=st.sampled_from([None, 3, ("<", 2), (">=", 3), ("!=", 1), [0, 4]]),
    kind=st.sampled_from([None, "a", ("!=", "a")]),
    sharpe=st.sampled_from([None, (">", 3), ("<=", 2.0), 5]),
    days=st.sampled_from([None, (0, 100), (150, 400)]),
    tag=st.sampled_from([None, "t"]),
)
@settings(max_examples=60, deadline=None)
def test_a_query_finds_what_a_look_at_every_run_finds(results: Results, **wanted: Any) -> None:
    def holds(value: object, condition: Any) -> bool:
        if condition is None:
            return True
        if isinstance(condition, list):
            return value in condition
        sign, other = condition if isinstance(condition, tuple) else ("=", condition)
        compared = {"=": value == other, "!=": value != other}
        if sign in compared:
            return compared[sign]
        return {"<": value < other, ">": value > other, "<=": value <= other, ">=": value >= other}[sign]  # type: ignore[operator]

    def listed(value: Any) -> list[str]:
        return value if isinstance(value, list) else [value]

    start, end = (None, None) if wanted["days"] is None else (DAY + timedelta(days=day) for day in wanted["days"])
    expected = [
        run["run_id"]
        for run in _runs()
        if (wanted["strategy"] is None or run["strategy"] in listed(wanted["strategy"]))
        and holds(run["version"], wanted["version"])
        and (wanted["market"] is None or set(listed(wanted["market"])) <= set(run["markets"]))
        and holds(run["state"], wanted["state"])
        and holds(run["parameters"]["window"], wanted["window"])
        and holds(run["parameters"]["kind"], wanted["kind"])
        and holds(run["metrics"]["sharpe"], wanted["sharpe"])
        and (start is None or end is None or start <= run["started_at"] < end)
        and (wanted["tag"] is None or wanted["tag"] in run["tags"])
    ]
    asked = {name: wanted[name] for name in ("strategy", "version", "market", "state", "tag")} | {
        "parameters": {name: wanted[name] for name in ("window", "kind") if wanted[name] is not None},
        "metrics": {"sharpe": wanted["sharpe"]} if wanted["sharpe"] is not None else {},
        "start": start,
        "end": end,
    }
    assert _ids(results.query_metadata(**asked, descending=False)) == expected
    assert results.count(**asked) == len(expected)
    assert results.optimize_query(**asked).rows == len(expected)


def test_order_limit_and_offset(results: Results) -> None:
    rare = results.query_metadata(order_by="metrics.rare", limit=3)
    assert rare["metrics.rare"].to_list() == [36, 32, 28]
    assert _ids(results.query_metadata(order_by="metrics.rare", limit=2, offset=9)) == ["0", "1"], (
        "those without come last"
    )
    assert results.query_metadata(order_by="parameters.deep.x", limit=1)["run_id"].to_list() == ["39"]
    assert results.query_metadata(limit=0).is_empty()
    assert _ids(results.query_metadata(order_by="strategy", descending=False, limit=1)) == ["0"]


def test_texts_are_conditions_too(results: Results) -> None:
    asked = {"metrics": ["sharpe >= 5"], "parameters": "kind = a"}
    assert set(_ids(results.query_metadata(**asked))) == {str(n) for n in range(40) if n % 7 >= 5 and n % 2 == 0}
    assert Condition.parse(" deep.x<=1.5 ") == Condition("deep.x", "<=", 1.5)
    for wrong in ("sharpe", "> 1", "sharpe > high"):
        with pytest.raises(ReadError):
            results.query_metadata(metrics=[wrong])
    with pytest.raises(ReadError, match="cannot be ordered"):
        RunQuery(order_by="colour")
    with pytest.raises(ReadError, match="limit"):
        results.query_metadata(limit=-1)
    with pytest.raises(ConfigError, match="not asked for like this"):
        results.query_metadata(colour="red")


def test_the_plan_names_what_would_be_touched(results: Results) -> None:
    whole, narrow = results.optimize_query(), results.optimize_query(strategy="s1", end=DAY + timedelta(days=60))
    assert narrow.files < whole.files == whole.all_files
    assert narrow.partitions < whole.all_partitions
    assert narrow.bytes < whole.bytes
    one = results.optimize_query(strategy="s1", version="0", run_id="0")
    assert "1 segment of the index" in str(replace(one, segments=1)) and str(replace(one, runs=1)).startswith(
        "1 run in "
    )
    assert "name a strategy" in str(whole) and "name a strategy" not in str(narrow)


def test_the_index_in_files_is_the_index_of_the_table(
    results: Results, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(index_module, "_WORTH_A_FILE", 10)
    monkeypatch.setattr(index_module, "_MANY", 2)
    root = Path(str(results.lake.store.storage.root))
    place = tmp_path / "copy"
    shutil.copytree(root, place, ignore=shutil.ignore_patterns("results"))
    expected = results.query_metadata(limit=100, order_by="known_at")
    opened = Results.open(place)
    assert opened.query_metadata(limit=100, order_by="known_at").equals(expected)
    kept = place / "state" / "results"
    assert (kept / "index.json").is_file()
    again = Results.open(place)
    assert again.query_metadata(limit=100, order_by="known_at").equals(expected)
    opened.save_many([little("new", "1", str(number), metrics={"x": number}) for number in range(15)])
    assert opened.count() == again.count() == Results.open(place).count() == 55
    file = next(kept.glob("segment-*/metric.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    mended = Results.open(place)
    assert mended.query_metadata(limit=100, order_by="known_at", strategy=["s0", "s1", "s2"]).equals(expected)


def test_no_run_is_an_answer(tmp_path: Path) -> None:
    empty = Results.open(tmp_path, create=True)
    assert empty.query_metadata(strategy="x").is_empty()
    assert empty.count() == 0
    assert empty.optimize_query().rows == 0
    assert empty.list_strategies().is_empty()
