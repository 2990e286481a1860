"""The comparison with peers: every work runs at a small size, answers are judged, and results are held against targets.

Peers that need an environment of their own are not installed for this; DuckDB and Polars run in ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks import planning, sql
from benchmarks.__main__ import main
from benchmarks.peers import batch
from benchmarks.peers.answers import expected, judge_answer
from benchmarks.peers.command import run
from benchmarks.peers.contender import CONTENDERS, OURS, contender
from benchmarks.peers.environment import PeersUnavailable, peers_python
from benchmarks.peers.judge import Exactness, WrongAnswer, judge
from benchmarks.peers.lines import Line, lines
from benchmarks.peers.process import ContenderFailed, ContenderProcess
from benchmarks.peers.questions import BARS, EXTENT, HOURS, LATEST, Question
from benchmarks.peers.race import Race, Taken
from benchmarks.peers.reads import READS, ReadScale
from benchmarks.peers.truth import daily, minutes
from benchmarks.peers.works import LARGE, WORKS, Scale, chosen
from gb_pipeline.storage.file_index import WORTH_AN_INDEX

HERE = Path(sys.executable)
READ_A_LITTLE = ReadScale(symbols=2, days=9, weeks=3, listed=3, years=1, session_years=1, fragments=3, repeats=2)
SMALL = Scale(
    symbols=2, days=3, many=4, many_days=1, commits=3, listed=3, years=1, large=4, compacted=3, reads=READ_A_LITTLE
)
IN_OUR_ENVIRONMENT = (OURS, "duckdb_native", "duckdb_parquet", "parquet_polars")
# Works that only those take part in who can change what is stored.
BY_ALL_ACTS = {
    "W2.append": "append",
    "W2.append500": "append",
    "W2.replace": "replace",
    "R3.all": "replace",
    "R3.five": "replace",
}


@pytest.fixture
def answer(tmp_path: Path) -> Callable[[pl.DataFrame], Path]:
    """Save a frame as a contender would send it."""

    def save(frame: pl.DataFrame) -> Path:
        path = tmp_path / "answer.arrow"
        batch.save(frame.with_columns(pl.col("symbol").cast(pl.Categorical)).to_arrow(), path)
        return path

    return save


def test_every_work_runs_and_every_contender_returns_the_truth() -> None:
    results = run(list(WORKS), dict.fromkeys(IN_OUR_ENVIRONMENT, HERE), SMALL, samples=1)

    writes, reads = set(WORKS) - set(READS), {name for names in READS.values() for name in names}
    assert {*writes, *reads, "W2.again/write"} == set(results)
    acts = {name: contender(name).acts for name in IN_OUR_ENVIRONMENT}
    for work, taken in results.items():
        ours_alone = work.startswith("W2.again") or work in LARGE
        able = {name for name in acts if work not in BY_ALL_ACTS or BY_ALL_ACTS[work] in acts[name]}
        assert set(taken) == ({OURS} if ours_alone else able), work
        assert all(len(item.wall) == len(item.cpu) == 1 for item in taken.values()), work
        assert all(item.exactness is Exactness.EXACT for item in taken.values()), work
    assert all(item.bytes_per_row is not None for item in results["W1.write"].values())

    report = lines(results, SMALL.listed * SMALL.sessions)
    assert {line.work for line in report} == writes | reads
    assert all(line.met is not None for line in report if line.target)


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_one_changed_digit_of_one_value_is_a_wrong_answer(column: str, answer: Callable[[pl.DataFrame], Path]) -> None:
    truth = minutes(2, 1)
    changed = truth.frame.with_row_index().with_columns(pl.col(column) + (pl.col("index") == 1234).cast(pl.Int64))

    with pytest.raises(WrongAnswer, match=f"'{column}': 1"):
        judge("someone", answer(changed.drop("index")), truth, "exact")
    assert judge("someone", answer(truth.frame.reverse()), truth, "exact") is Exactness.EXACT


def told(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "told.arrow"
    rows.write_ipc(path)
    return path


def test_the_answer_to_a_question_is_held_against_the_truth(tmp_path: Path) -> None:
    history = minutes(2, 2)
    codes = ("S000-USD", "S001-USD")
    window = history.start + timedelta(hours=1), history.start + timedelta(hours=30)
    for kind, height in ((BARS, 2 * 29 * 60), (HOURS, 2 * 29), (LATEST, 2), (EXTENT, 2)):
        question = Question(kind, codes, *window)
        assert Question.heard(question.told()) == question
        right = expected(history, question)
        assert right.height == height
        assert judge_answer("someone", told(right, tmp_path), history, question, "exact") is Exactness.EXACT
        number = "bars" if kind == EXTENT else "close"
        for wrong in (right.slice(1), right.with_columns(pl.col(number) + 1)):
            with pytest.raises(WrongAnswer):
                judge_answer("someone", told(wrong, tmp_path), history, question, "exact")
    unsorted = expected(history, Question(BARS, codes, *window)).reverse()
    with pytest.raises(WrongAnswer, match="in another order"):
        judge_answer("someone", told(unsorted, tmp_path), history, Question(BARS, codes, *window), "exact")


@pytest.mark.parametrize("promise", ["exact", "whole volumes"])
def test_a_missing_and_a_doubled_row_are_wrong_answers(promise: str, answer: Callable[[pl.DataFrame], Path]) -> None:
    truth = minutes(2, 1)
    for wrong in (truth.frame.slice(1), pl.concat([truth.frame, truth.frame.head(1)])):
        with pytest.raises(WrongAnswer, match=f"{wrong.height} rows for {truth.rows}"):
            judge("someone", answer(wrong), truth, promise)


def test_a_contender_that_keeps_whole_volumes_is_told_apart_and_may_not_change_prices(
    answer: Callable[[pl.DataFrame], Path],
) -> None:
    truth = minutes(1, 1)
    whole = truth.frame.with_columns(pl.col("volume") // 10**8 * 10**8)
    assert judge("someone", answer(whole), truth, "whole volumes") is Exactness.WHOLE_VOLUMES
    with pytest.raises(WrongAnswer):
        judge("someone", answer(whole), truth, "exact")
    with pytest.raises(WrongAnswer):
        judge("someone", answer(whole.with_columns(pl.col("close") + 10**6)), truth, "whole volumes")


def test_queries_in_sql_are_measured_at_ever_more_files() -> None:
    assert [item.unit for item in sql.measure(files=400)] == ["ms"] * 3


def test_planning_is_measured_with_and_without_the_index() -> None:
    taken = list(planning.measure(files=2 * WORTH_AN_INDEX))
    assert [item.unit for item in taken] == ["ms", "ms"]
    assert all(item.value > 0 for item in taken)


def test_a_contender_that_stored_something_else_stops_the_race(tmp_path: Path) -> None:
    history = minutes(1, 2)
    with ContenderProcess("duckdb_native", HERE, tmp_path) as process:
        race = Race([process], samples=1)
        race.load("write", {"first day": history.days(0)})
        with pytest.raises(WrongAnswer, match="1440 are missing"), race.store(process, "1m") as store:
            race.time("work", 0, store, "write", ["first day"])
            race.check("work", store, history)


def test_what_a_contender_raises_and_how_its_process_ends_is_reported(tmp_path: Path) -> None:
    with ContenderProcess("duckdb_native", HERE, tmp_path) as process:
        with pytest.raises(ContenderFailed, match=r"duckdb_native failed at 'open'[\s\S]*no-such-folder"):
            process.ask("open", folder=str(tmp_path / "no-such-folder"), resolution="1m")
        assert process.ask("hello")["exactness"] == "exact", "it goes on answering"
    with pytest.raises(ContenderFailed, match=r"ended at 'hello'[\s\S]*nobody"):
        ContenderProcess("nobody", HERE, tmp_path)


def test_each_sample_another_contender_begins(tmp_path: Path) -> None:
    with (
        ContenderProcess("duckdb_native", HERE, tmp_path) as one,
        ContenderProcess("parquet_polars", HERE, tmp_path) as other,
    ):
        race = Race([one, other], samples=2)
        assert [race.turns(sample, "write") for sample in range(2)] == [[one, other], [other, one]]
        assert race.turns(0, "again") == []


def test_bars_are_the_same_each_time_and_a_restatement_changes_every_number() -> None:
    for make, step in ((minutes, 60), (daily, 86_400)):
        history = make(2, 4)
        assert history.frame.equals(make(2, 4).frame)
        assert history.frame.equals(history.days(0, 3).joined(history.days(3)).frame)
        assert history.rows == 2 * 4 * 86_400 // step
        assert history.frame.filter(pl.max_horizontal("open", "close") > pl.col("high")).is_empty()
        assert history.frame.filter(pl.min_horizontal("open", "close") < pl.col("low")).is_empty()
        day = history.days(1).restated(0)
        replaced = history.replaced(day)
        numbers = [(history.frame[name] != replaced.frame[name]).sum() for name in batch.NUMBERS]
        assert numbers == [day.rows] * len(batch.NUMBERS)


def test_numbers_survive_the_way_through_floats(tmp_path: Path) -> None:
    truth = minutes(2, 1)
    rows = batch.Batch(batch.load(truth.file(tmp_path)), "1m", truth.start, truth.end)
    parts = {
        symbol: {"timestamp": part["timestamp"]}
        | {name: batch.units(batch.floats(part[name])) for name in batch.NUMBERS}
        for symbol, part in rows.by_symbol().items()
    }
    assert list(parts) == ["S000-USD", "S001-USD"]
    assert batch.table_by_symbol(parts).equals(rows.rows)


def taken(wall: float, cpu: float, bytes_per_row: float | None = None, kept: Exactness = Exactness.EXACT) -> Taken:
    return Taken([wall, wall * 9, wall], [cpu, cpu, cpu * 9], bytes_per_row, kept)


def test_ours_is_held_against_the_quickest_peer() -> None:
    peers = {"duckdb_native": taken(2, 5), "zipline_bcolz": taken(1, 4, kept=Exactness.WHOLE_VOLUMES)}
    (line,) = lines({"W2.replace": {OURS: taken(3.5, 6), **peers}}, 1)
    assert (line.ratio, line.cpu_ratio, line.peer, line.met) == (3.5, 1.5, "zipline_bcolz ~", True)
    (line,) = lines({"W2.replace": {OURS: taken(4.5, 6), **peers}}, 1)
    assert line.met is False
    (alone,) = lines({"W2.replace": {OURS: taken(3.5, 6)}}, 1)
    assert (alone.ratio, alone.met) == (None, None)


def test_kept_answers_have_lines_of_their_own_and_are_no_peer() -> None:
    results = {"R1.weeks": {OURS: taken(3, 3), "gb_pipeline_memory": taken(0.2, 1), "duckdb_native": taken(1, 1)}}
    report = lines(results, 1)
    assert [(line.ratio, line.peer, line.met) for line in report] == [
        (3, "duckdb_native", False),
        (0.2, "duckdb_native", True),
    ]


def test_a_line_about_one_peer_ignores_the_others() -> None:
    peers = {"duckdb_native": taken(1, 1), "parquet_polars": taken(2, 2)}
    report = {line.title: line for line in lines({"W12.write": {OURS: taken(6, 6), **peers}}, 1)}
    assert report["write 50 symbols x 10 years of days"].ratio == 6
    assert report["the same, one Parquet file for each symbol"].ratio == 3


def test_bytes_processor_time_and_repeats_have_targets_of_their_own() -> None:
    ours, peer = taken(8, 12, 30.0), taken(4, 4, 12.0)
    report = {line.title: line for line in lines({"W12.write": {OURS: ours, "parquet_polars": peer}}, 2_000_000)}
    processor, size = report["the same, processor time"], report["bytes per row, days, ledgers included"]
    assert (processor.ours, processor.best, processor.met) == (6, 2, True)
    assert (size.ours, size.ratio, size.met) == (30, 2.5, False)

    def again(wall: float) -> Line:
        (line,) = lines({"W2.again": {OURS: taken(wall, 1)}, "W2.again/write": {OURS: taken(10, 10)}}, 1)
        return line

    assert (again(1.0).ratio, again(1.0).met, again(2.5).met) == (0.1, True, False)


def test_works_are_asked_for_by_name_or_by_what_a_name_begins_with() -> None:
    assert chosen(["W12", "W2.append"], large=False) == ["W2.append", "W12.write"]
    assert chosen(["W12"], large=True) == ["W12.write", "W12.large"]
    assert chosen(["W12.large"], large=False) == ["W12.large"]
    assert set(chosen([], large=False)) == set(WORKS) - LARGE
    with pytest.raises(ValueError, match=r"no work 'W99'; there is W1\.write"):
        chosen(["W1", "W99"], large=False)


def test_without_uv_it_is_said_how_to_measure_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PeersUnavailable, match=r"no `uv` on the PATH[\s\S]*--contenders gb_pipeline"):
        peers_python()
    assert main(["peers", "--work", "W1"]) == 2
    assert "no `uv` on the PATH" in capsys.readouterr().err


def test_an_environment_that_cannot_be_installed_is_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("UV_OFFLINE", "1")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-package-anywhere==1.0\n", encoding="utf-8")
    for _ in range(2):  # what a failed try left behind is not taken for an environment
        with pytest.raises(PeersUnavailable, match="no-such-package-anywhere"):
            peers_python(requirements)


def test_every_requirement_of_the_peers_is_pinned() -> None:
    from benchmarks.peers.environment import REQUIREMENTS

    wanted = [
        line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    assert wanted and all("==" in line for line in wanted)
    assert {"arcticdb", "duckdb", "polars", "zipline-reloaded"} <= {line.partition("==")[0] for line in wanted}


def test_an_unknown_contender_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--contenders", "ours"]) == 2
    assert f"there is {', '.join(CONTENDERS)}" in capsys.readouterr().err


def test_truths_have_files_of_their_own(tmp_path: Path) -> None:
    first, second = minutes(1, 1), minutes(1, 2)
    assert first.file(tmp_path) == first.file(tmp_path) != second.file(tmp_path)
