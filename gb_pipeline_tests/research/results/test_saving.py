"""A run is saved once, exactly as it was given, and never overwritten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline.errors import ConfigError, GbError, LakeError, NaiveTimestamp, RunRefused, WindowRefused
from gb_pipeline.research.results import BacktestRun, Results
from gb_pipeline.research.results.canonical import from_json, to_json
from gb_pipeline.research.results.digests import frame_digest
from gb_pipeline_tests.research.results.runs import DAY, DAYS, little, make_run


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results.open(tmp_path / "lake", create=True)


def test_a_run_comes_back_as_it_was_saved(results: Results) -> None:
    run = make_run()
    assert results.save_backtest_data(run).outcome == "saved"
    loaded = Results.open(results.lake.store.storage.root).load_backtest_data("momentum/1.0/a")
    for part in ("equity", "fills", "positions"):
        assert_frame_equal(getattr(loaded, part), getattr(run, part), check_exact=True)
    assert (loaded.parameters, loaded.metrics) == (run.parameters, run.metrics)
    assert {name: type(value) for name, value in loaded.metrics.items()} == {
        "sharpe": float,
        "trades": int,
        "pnl": Decimal,
    }
    assert (loaded.markets, loaded.seeds, loaded.tags, loaded.started_at) == (
        ["crypto"],
        {"numpy": 7},
        ["nightly"],
        DAY,
    )
    assert results.load_artifact("momentum/1.0/a", "report.html") == b"<p>fine</p>"


def test_the_same_content_again_is_unchanged_and_commits_nothing(results: Results) -> None:
    results.save_backtest_data(make_run())
    tables = results.lake.store.tables
    versions = {name: tables.newest(name).version for name in ("runs", "metrics", "equity", "fills", "positions")}
    again = make_run(
        environment={"python": "3.13"}, tags=["other"], started_at=DAY + timedelta(days=40), finished_at=None
    )
    assert results.save_backtest_data(again).outcome == "unchanged"
    assert {name: tables.newest(name).version for name in versions} == versions


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"parameters": {"window": 21}}, "parameters"),
        ({"metrics": {"sharpe": 1.26, "trades": 2, "pnl": Decimal("12.5")}}, "metrics"),
        ({"metrics": {"sharpe": 1.25, "trades": 2.0, "pnl": Decimal("12.5")}}, "metrics"),
        ({"equity": pl.DataFrame({"timestamp": DAYS, "equity": [1.0, 2.0, 3.0, 4.0]})}, "equity"),
        ({"fills": None}, "fills"),
        ({"positions": None}, "positions"),
        ({"artifacts": {"report.html": b"bad"}}, "artifacts"),
        ({"seeds": {}}, "seeds"),
        ({"markets": ["XNYS"]}, "markets"),
        ({"state": "failed"}, "state"),
    ],
)
def test_other_content_under_a_taken_name_is_refused_and_named(
    results: Results, change: dict[str, object], part: str
) -> None:
    results.save_backtest_data(make_run())
    with pytest.raises(RunRefused, match=rf"momentum/1\.0/a is saved already with other .*{part}") as refused:
        results.save_backtest_data(make_run(**change))
    assert part in refused.value.differences["part"].to_list()
    assert results.load_backtest_data("momentum/1.0/a").metrics == make_run().metrics


def test_what_cannot_be_kept_is_refused_before_anything_is_written(results: Results) -> None:
    naive = pl.DataFrame({"timestamp": [datetime(2024, 1, 1)], "equity": [1.0]})
    fine = pl.DataFrame({"timestamp": [1_704_067_200_000_000_001], "equity": [1.0]}).with_columns(
        pl.col("timestamp").cast(pl.Datetime("ns", "UTC"))
    )
    twice = pl.DataFrame({"timestamp": [DAY, DAY], "equity": [1.0, 2.0]})
    cases: list[tuple[dict[str, object], type[GbError], str]] = [
        ({"equity": naive}, NaiveTimestamp, "without a zone"),
        ({"equity": fine}, WindowRefused, "finer than a microsecond"),
        ({"equity": twice}, WindowRefused, "more than once"),
        ({"equity": pl.DataFrame({"timestamp": [DAY], "equity": ["1"]})}, WindowRefused, "String"),
        ({"equity": pl.DataFrame({"timestamp": [DAY]})}, WindowRefused, "no curve"),
        ({"fills": make_run().fills.with_columns(colour=pl.lit("x"))}, WindowRefused, "colour"),  # type: ignore[union-attr]
        ({"fills": pl.DataFrame({"timestamp": [DAY], "symbol": ["A"]})}, WindowRefused, "quantity, price"),
        ({"metrics": {"x": "1"}}, WindowRefused, "metric x"),
        ({"metrics": {"x": True}}, WindowRefused, "metric x"),
        ({"metrics": {"x": 10**25}}, WindowRefused, "20 digits"),
        ({"metrics": {"x": Decimal("1e-19")}}, WindowRefused, "18 behind"),
        ({"metrics": {"x": Decimal("NaN")}}, WindowRefused, "NaN"),
        ({"parameters": {"x": object()}}, ConfigError, "object"),
        ({"parameters": {"$x": 1}}, ConfigError, "key"),
        ({"parameters": {"\ud800": 1}}, ConfigError, "a key of parameters is no valid text"),
        ({"parameters": {"exit.stop": 1, "exit": {"stop": 2}}}, ConfigError, "exit.stop is there twice"),
        ({"parameters": ["x"]}, ConfigError, "parameters are a list"),
        ({"timings": {"total": "fast"}}, ConfigError, "timing total"),
        ({"state": "failed", "error": "\ud800"}, ConfigError, "the error is no valid text"),
        ({"parameters": {"x": datetime(2024, 1, 1)}}, NaiveTimestamp, "zone"),
        ({"strategy": "../etc"}, ConfigError, "strategy"),
        ({"run_id": ""}, ConfigError, "run id"),
        ({"version": "1\n"}, ConfigError, "version"),
        ({"seeds": {"numpy": 1.5}}, ConfigError, "seed"),
        ({"artifacts": {"x": "text"}}, ConfigError, "artifact"),
        ({"state": "halfway"}, ConfigError, "halfway"),
        ({"finished_at": DAY - timedelta(days=1)}, ConfigError, "before it began"),
        ({"data": ["momentum"]}, ConfigError, "data cannot be"),
    ]  # fmt: skip
    for change, kind, words in cases:
        with pytest.raises(kind, match=words):
            results.save_backtest_data(make_run(**change))
    assert not list(results.lake.store.tables.existing())
    assert not (results.lake.store.storage.root / "artifacts").exists()  # type: ignore[operator]


numbers = st.one_of(
    st.floats(), st.integers(-(10**19), 10**19), st.decimals(-(10**15), 10**15, allow_nan=False, places=12)
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8), st.dates(), st.timedeltas()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc.", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text("abcdef", min_size=1), values, max_size=5))
@settings(max_examples=60, deadline=None)
def test_parameters_keep_values_and_types(value: dict[str, object]) -> None:
    text = to_json(value)
    assert to_json(from_json(text)) == text
    assert repr(from_json(text)) == repr({key: value[key] for key in sorted(value)}) or "{" in repr(
        list(value.values())
    )


@given(
    floats=st.lists(st.floats(), max_size=6),
    exact=st.lists(st.decimals(-(10**15), 10**15, allow_nan=False, places=18), max_size=6),
)
@settings(max_examples=12, deadline=None)
def test_every_number_comes_back_to_the_digit(
    tmp_path_factory: pytest.TempPathFactory, floats: list[float], exact: list[Decimal]
) -> None:
    results = Results.open(tmp_path_factory.mktemp("lake"), create=True)
    days = [DAY + timedelta(days=number) for number in range(max(len(floats), len(exact), 1))]
    frame = pl.DataFrame(
        {
            "timestamp": days,
            "float": pl.Series(floats + [None] * (len(days) - len(floats)), dtype=pl.Float64),
            "exact": pl.Series(exact + [None] * (len(days) - len(exact)), dtype=pl.Decimal(38, 18)),
        }
    )
    results.save_backtest_data(little("s", "1", "a", equity=frame))
    found = results.load_backtest_data("s/1/a").equity
    assert found is not None
    assert_frame_equal(found, frame, check_exact=True)


def test_two_writers_of_one_name_keep_one_run(tmp_path: Path) -> None:
    Results.open(tmp_path, create=True)
    outcomes: list[str] = []

    def save(number: int) -> None:
        mine = Results.open(tmp_path)
        for run in range(4):
            reports = mine.save_many(
                [
                    little(
                        "s",
                        "1",
                        str(run),
                        metrics={"writer": number},
                        equity=pl.DataFrame({"timestamp": [DAY], "equity": [number]}),
                    )
                ]
            )
            outcomes.append(reports[0].outcome.value)

    writers = [Thread(target=save, args=(number,)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(outcomes) == ["refused"] * 8 + ["saved"] * 4
    results = Results.open(tmp_path)
    assert results.count() == 4
    for run in range(4):
        found = results.load_backtest_data(f"s/1/{run}")
        assert found.equity is not None
        # All of a run is of one writer.
        assert found.equity["equity"].to_list() == [found.metrics["writer"]]


def test_of_one_name_in_one_call_the_first_counts(results: Results) -> None:
    reports = results.save_many(
        [
            little("s", "1", "a", metrics={"x": 1.0}),
            little("s", "1", "a", metrics={"x": 2.0}),
            little("s", "1", "a", metrics={"x": 1.0}),
        ]
    )
    assert [report.outcome.value for report in reports] == ["saved", "refused", "unchanged"]


def test_digests_are_those_of_earlier_releases() -> None:
    """What is saved already is unchanged as long as its digest is."""
    frame = pl.DataFrame(
        {
            "name": ["a", "b", None], "value": [1.5, None, float("nan")], "none": [None] * 3, "exact": [None] * 3,
            "some": [Decimal("1.5"), None, Decimal(2)], "at": [datetime(2024, 1, 2, tzinfo=UTC)] * 3, "day": [date(2024, 1, 2)] * 3,
        },
        schema={
            "name": pl.String(), "value": pl.Float64(), "none": pl.Float64(), "exact": pl.Decimal(38, 18),
            "some": pl.Decimal(38, 18), "at": pl.Datetime("us", "UTC"), "day": pl.Date(),
        },
    )  # fmt: skip
    assert frame_digest(frame) == "2457ba2ee0698d5bf324a3c750c803b1eb984e3544458a38d7dfe7cd000faabf"
    assert frame_digest(frame.clear()) == "82ac32e0305d3d137df236a8e5506d2747fe6a30e9dfd351435b3e5bf0b8682c"


def test_a_damaged_artifact_is_never_handed_out(results: Results) -> None:
    results.save_backtest_data(make_run())
    [(_, digest, _)] = results.list_artifacts("momentum/1.0/a").rows()
    file = Path(str(results.lake.store.storage.root)) / "artifacts" / digest[:2] / digest
    file.write_bytes(b"<p>evil</p>")
    with pytest.raises(LakeError, match="damaged"):
        results.load_artifact("momentum/1.0/a", "report.html")
    results.artifacts.put(b"<p>fine</p>")
    assert results.load_artifact("momentum/1.0/a", "report.html") == b"<p>fine</p>"


def test_rows_of_a_save_that_was_cut_off_do_not_count(results: Results) -> None:
    from gb_pipeline.research.results.prepared import rows_of
    from gb_pipeline.storage.append import append

    prepared = results.prepare(make_run())
    for table in ("metrics", "equity", "fills", "positions"):
        rows = rows_of([prepared], table, [5])
        assert rows is not None
        append(results.lake.store.tables[table], rows)
    assert results.count() == 0
    results.save_backtest_data(make_run())
    loaded = results.load_backtest_data("momentum/1.0/a")
    assert loaded.equity is not None
    assert_frame_equal(loaded.equity, make_run().equity, check_exact=True)  # type: ignore[arg-type]


def test_compaction_changes_no_run(results: Results) -> None:
    for number in range(5):
        results.save_backtest_data(make_run(str(number), metrics={"sharpe": float(number)}))
    store = results.lake.store
    candidates = store.compaction_candidates(min_files=2)
    assert {item.table for item in candidates} >= {"runs", "metrics", "equity", "fills", "positions"}
    store.compact(*candidates)
    fresh = Results.open(store.storage.root)
    for opened in (results, fresh):
        assert opened.query_metadata(order_by="metrics.sharpe")["run_id"].to_list() == ["4", "3", "2", "1", "0"]
        loaded = opened.load_backtest_data("momentum/1.0/3")
        assert loaded.metrics == {"sharpe": 3.0}
        assert_frame_equal(loaded.equity, make_run().equity, check_exact=True)  # type: ignore[arg-type]
    assert results.save_backtest_data(make_run("3", metrics={"sharpe": 3.0})).outcome == "unchanged"


def test_sql_reads_the_tables(results: Results) -> None:
    results.save_backtest_data(make_run())
    found = results.lake.sql(
        "select runs.run_id, metrics.value from runs join metrics using (run_key, save_id) where metrics.name = 'sharpe'"
    )
    assert found.rows() == [("a", 1.25)]


def test_a_name_that_there_is_not_is_answered_with_near_ones(results: Results) -> None:
    results.save_backtest_data(make_run("first"))
    with pytest.raises(LakeError, match=r"did you mean momentum/1\.0/first"):
        results.load_backtest_data("momentum/1.0/frist")
    with pytest.raises(LakeError, match="did you mean momentum"):
        results.load_backtest_data("momentun/1.0/first")
    with pytest.raises(ConfigError, match="no name of a run"):
        results.load_backtest_data("momentum")


def test_fields_may_be_named_instead_of_a_run(results: Results) -> None:
    assert results.save_backtest_data(strategy="s", version="1", run_id="a").outcome == "saved"
    assert results.save_backtest_data(replace(make_run(), run_id="b"), tags=["x"]).outcome == "saved"
    with pytest.raises(ConfigError, match="not made like this"):
        results.save_backtest_data(strategy="s", colour="red")
    assert isinstance(results.load_backtest_data("s/1/a"), BacktestRun)
