"""Sets of factors from gb.yaml: what is stored, what makes a month due, and that the same data give the same bits."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from gb_pipeline import Lake, run_pipeline
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import factors
from gb_pipeline.research.factors.due import find_due_months
from gb_pipeline.research.factors.sets import FactorSet
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.research.factors.markets import SESSIONS, open_lake, put_closes

SOURCE = {"provider": "csv", "calendar": "XNYS", "start": "2022-10-03", "resolutions": ["1d"]}
EXPRESSIONS = {"mean": "Mean($close, 10) / $close", "up": "$close > Ref($close, 1)", "rank": "CSRank($close)"}
TODAY = date(2023, 3, 31)
MOVES = {name: [50 + 5 * number + 4 * math.sin(day / 7 + number) for day in range(len(SESSIONS))]
         for number, name in enumerate(["AAA", "BBB", "CCC"])}  # fmt: skip


def read_set(folder: Path, **own: Any) -> FactorSet:
    described = {"source": "sim", "start": "2022-11-10", "adjustment": "none", "expressions": EXPRESSIONS} | own
    described = {name: value for name, value in described.items() if value is not None}
    document = {
        "lake": "data",
        "sources": {"sim": SOURCE | {"symbols": sorted(MOVES)}},
        "factors": {"trend": described},
    }
    (folder / "gb.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return FactorSet.of(Settings.load(folder), "trend")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = open_lake(tmp_path)
    put_closes(lake, MOVES)
    return lake


def correct(lake: Lake, day: str, close: float) -> None:
    lake.store.clock = SetClock(at("2025-02-01"))
    bar = {"timestamp": [at(day)], "open": [close], "high": [close], "low": [close], "close": [close], "volume": [5.0]}
    lake.put(pl.DataFrame(bar), source="sim", resolution="1d", symbol="AAA", calendar="XNYS", decimals=6)


def due(lake: Lake, chosen: FactorSet) -> list[str]:
    return [month.key for month in find_due_months(lake, chosen, TODAY)]


def test_stored_values_are_those_of_the_pipeline_with_their_types(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)

    stored = list(chosen.store(lake, chosen.months(TODAY)))

    expected = run_pipeline(
        chosen.pipeline, "2022-11-10", "2023-04-01", lake=lake, source="sim", calendar="XNYS", adjustment=None
    )
    assert_frame_equal(lake.factors("trend"), expected, check_exact=True)
    assert sum(item.rows.height for item in stored) == expected.height
    some = lake.factors("trend", "2023-01-03", "2023-01-05", columns=["up", "mean"], symbols="BBB")
    wanted = expected.filter(pl.col("session").is_between(date(2023, 1, 3), date(2023, 1, 4)), symbol="BBB")
    assert_frame_equal(some, wanted.select("session", "symbol", "up", "mean"), check_exact=True)


def test_what_is_stored_comes_out_again_to_the_last_bit_whatever_is_corrected_later(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)
    months = chosen.months(TODAY)
    first = list(chosen.store(lake, months))
    before = lake.factors("trend")
    correct(lake, "2023-01-10", 99.0)

    assert chosen.differences(lake, months).is_empty()
    assert all(item.report.version is None for item in chosen.store(lake, months, as_of=first[0].data_as_of))
    list(chosen.store(lake, months))

    assert not lake.factors("trend").equals(before)
    assert lake.factors("trend", as_of="2025-01-15").equals(before)
    assert chosen.differences(lake, months).is_empty()


def test_a_value_that_was_changed_by_hand_is_found(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)
    month = chosen.month("2022-12")
    (stored,) = chosen.store(lake, [month])
    rows = factors.read(lake.store.tables, "trend", month.start, month.end).select(factors.COMPUTED)
    touched = pl.when(pl.int_range(pl.len()) == 7).then(0.125).otherwise("value").alias("value")
    factors.write_factors(
        lake.store.tables, "trend", month.start, month.end, rows.with_columns(touched),
        data_as_of=stored.data_as_of, clock=lake.store.clock,
    )  # fmt: skip

    found = chosen.differences(lake, [month])

    assert sorted(found["side"]) == ["computed", "stored"]
    assert 0.125 in found["value"].to_list()


def test_a_month_is_due_until_it_is_computed_and_when_what_it_looks_back_on_is_corrected(
    lake: Lake, tmp_path: Path
) -> None:
    chosen = read_set(tmp_path)
    every = ["2022-11", "2022-12", "2023-01", "2023-02", "2023-03"]
    assert due(lake, chosen) == every
    list(chosen.store(lake, [chosen.month(key) for key in every[:2]]))
    assert due(lake, chosen) == every[2:]
    list(chosen.store(lake, chosen.months(TODAY)))
    assert due(lake, chosen) == []

    correct(lake, "2023-01-27", 99.0)
    assert due(lake, chosen) == ["2023-01", "2023-02"]
    restated = [item.report.restated for item in chosen.store(lake, find_due_months(lake, chosen, TODAY))]
    assert all(restated)
    assert due(lake, chosen) == []
    assert due(lake, read_set(tmp_path, expressions=EXPRESSIONS | {"mean": "Mean($close, 11)"})) == every


def test_the_same_state_of_the_data_is_recorded_once(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)
    month = [chosen.month("2022-12")]

    for _ in range(2):
        list(chosen.store(lake, month))

    (run,) = factors.read_runs(lake.store.tables, "trend").to_dicts()
    assert (run["rows"], run["columns"]) == (63, list(EXPRESSIONS))
    assert run["data_fingerprint"]


def test_a_month_without_sessions_is_stored_as_such_and_kept(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)
    lake.store.clock = SetClock(at("2023-04-03"))
    (stored,) = chosen.store(lake, [chosen.month("2026-05")])

    assert stored.rows.is_empty()
    assert stored.report.received == 0


def test_a_pipeline_of_a_module_beside_gb_yaml_and_its_groups_are_stored(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signals_of_a_test.py").write_text(
        "from gb_pipeline import EquityPricing, Pipeline\n"
        "def pipeline():\n"
        "    close = EquityPricing.close\n"
        "    return Pipeline({'half': close.quantiles(2)}, screen=close.top(2))\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    chosen = read_set(tmp_path, expressions=None, pipeline="signals_of_a_test:pipeline")

    list(chosen.store(lake, [chosen.month("2022-12")]))

    rows = lake.factors("trend")
    assert rows.schema["half"] == pl.Int32
    assert rows.group_by("session").len()["len"].unique().to_list() == [2]


def test_another_file_of_its_module_makes_the_months_of_a_set_due_and_is_what_computes_them(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    text = "from gb_pipeline import EquityPricing, Pipeline\npipeline = Pipeline({'own': EquityPricing.close * %s})\n"
    written = tmp_path / "changing_signals_of_a_test.py"
    own = {"expressions": None, "pipeline": "changing_signals_of_a_test:pipeline", "start": "2022-12-01"}

    for factor in ("1", "200"):
        written.write_text(text % factor, encoding="utf-8")
        chosen = read_set(tmp_path, **own)
        assert "2022-12" in due(lake, chosen)
        list(chosen.store(lake, chosen.months(TODAY)))
        assert due(lake, read_set(tmp_path, **own)) == []

    first = lake.factors("trend").row(0, named=True)
    close = lake.bars(first["symbol"], "1d", "2022-11-30", "2022-12-01", as_float=True)["close"][0]
    assert first["own"] == close * 200


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"expressions": {"mean": "Mean($closs, 3)"}}, "there is no \\$closs"),
        ({"screen": "$close"}, "is a number"),
        ({"expressions": None, "pipeline": "nowhere_at_all:pipeline"}, "cannot be imported"),
        ({"expressions": None, "pipeline": "os:path"}, "is a module"),
        ({"expressions": {"session": "$close"}}, "cannot name a factor"),
        ({"expressions": None}, "either expressions or a pipeline"),
        ({"source": "nobody"}, "no source"),
        ({"on_gap": "error"}, "none of null, ffill, skip"),
        ({"universe": ["A/B/C"]}, "A/B/C"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, own: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_set(tmp_path, **own)


def test_names_that_are_not_there_are_answered_with_near_ones(lake: Lake, tmp_path: Path) -> None:
    chosen = read_set(tmp_path)
    list(chosen.store(lake, [chosen.month("2022-12")]))
    for name, columns, as_of, near in (
        ("trent", None, None, "trend"),
        ("trend", "means", None, "mean"),
        ("trend", None, "2024-01-01", "gb factors run"),
    ):
        with pytest.raises(ConfigError) as error:
            lake.factors(name, columns=columns, as_of=as_of)
        assert near in str(error.value.fix)
    with pytest.raises(ConfigError, match="begin on"):
        chosen.month("2022-10")
