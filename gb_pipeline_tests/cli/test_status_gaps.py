"""`gb status` and `gb gaps`: one line for what belongs together, in the width of a terminal, and what somebody can act on first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.cli.gaps import group_gaps
from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.quality.gaps import MEANINGS, GapReason
from gb_pipeline_tests.cli.console import Gb

PROJECT = """
lake: data
sources:
  mine:
    provider: csv
    options: {path: "{symbol}.csv", root: ROOT}
    calendar: XNYS
    start: 2024-03-01
    end: 2024-04-01
    symbols: SYMBOLS
    resolutions: [1d]
  other:
    provider: csv
    options: {path: "{symbol}.csv", root: ROOT}
    calendar: 24/7
    start: 2024-03-01
    symbols: [LATE]
    resolutions: [1d]
"""
SYMBOLS = [f"S{number:02}" for number in range(6)]
MARCH = date(2024, 3, 1), date(2024, 4, 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of five symbols and one that ended; S01 lacks days, S02 has bad ones, S03 ends early, S04 was never fetched."""
    folder = tmp_path_factory.mktemp("project")
    long_name = "A-LONG-NAME-OF-AN-INSTRUMENT-WITH-MORE-THAN-FIFTY-LETTERS"
    text = PROJECT.replace("ROOT", str(folder)).replace("SYMBOLS", f"[{', '.join([*SYMBOLS, long_name])}]")
    (folder / "gb.yaml").write_text(text, encoding="utf-8")
    days = [MARCH[0] + timedelta(days=n) for n in range(31)]
    weekdays = [day for day in days if day.weekday() < 5 and day != date(2024, 3, 29)]
    files = {
        "S00": weekdays,
        "S01": [day for day in weekdays if day not in {date(2024, 3, 8), date(2024, 3, 11), date(2024, 3, 20)}],
        "S02": weekdays,
        "S03": [day for day in weekdays if day < date(2024, 3, 26)],
        "S05": weekdays,
        long_name: weekdays,
        "LATE": days,
    }
    for name, written in files.items():
        lines = [f"{day},10,{9 if name == 'S02' and day.day == 14 else 12},9,11,100" for day in written]
        (folder / f"{name}.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]), encoding="utf-8")
    settings = Settings.load(folder)
    store = LakeStore.at(settings.lake)
    for source in settings.sources.values():
        end = date(2024, 3, 26) if source.name == "other" else MARCH[1]
        for symbol in source.instruments:
            if symbol.code != "S04":
                until = date(2024, 3, 26) if symbol.code == "S03" else end
                ingest(store, source, source.resolutions[0], [Job(symbol, MARCH[0], until)])
    refresh_catalog(store, settings.sources)
    return folder


def test_every_series_is_one_line_of_80_columns_with_totals(gb: Gb, project: Path) -> None:
    told = gb("status", "mine:S*", "--config", project)
    lines = told.out.splitlines()
    assert max(map(len, lines)) <= 80
    for code in SYMBOLS:
        assert len([line for line in lines if f"mine:{code} " in line]) == 1
    assert "6 series" in told.out
    assert "never fetched" in next(line for line in lines if "mine:S04" in line)
    assert "gb gaps" in told.err


def test_a_long_name_stays_whole(gb: Gb, project: Path) -> None:
    [line] = [line for line in gb("status", "--config", project).out.splitlines() if "A-LONG" in line]
    assert "mine:A-LONG-NAME-OF-AN-INSTRUMENT-WITH-MORE-THAN-FIFTY-LETTERS" in line
    assert " 20 " in line


def test_a_series_is_behind_the_last_session_that_is_over(gb: Gb, project: Path) -> None:
    rows = {row["symbol"]: row for row in gb("status", "*", "--json", "--config", project).json}
    assert (rows["S00"]["behind_days"], rows["S00"]["unfetched"]) == (0, 0)
    # The vendor's answer for the last three sessions was never asked for: Tuesday to Thursday before Good Friday.
    assert (rows["S03"]["behind_days"], rows["S03"]["behind_sessions"], rows["S03"]["unfetched"]) == (3, 3, 3)
    assert (rows["S04"]["sessions"], rows["S04"]["behind_days"], rows["S04"]["unfetched"]) == (0, None, 20)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert (yesterday - timedelta(days=1) - date(2024, 3, 25)).days <= rows["LATE"]["behind_days"]
    assert "3 d" in gb("status", "mine:S03", "--config", project).out


def test_what_was_never_fetched_is_counted_and_listed_on_demand(gb: Gb, project: Path) -> None:
    told = gb("status", "--config", project)
    assert "mine:S04" not in told.out
    assert "1 more series of gb.yaml was never fetched" in told.err
    for arguments in (("--incomplete",), ("mine",), ("S04",)):
        assert "mine:S04" in gb("status", *arguments, "--config", project).out


def test_a_project_that_has_stored_nothing_lists_its_series(gb: Gb, tmp_path: Path) -> None:
    text = PROJECT.replace("ROOT", str(tmp_path)).replace("SYMBOLS", "[S00, S01]")
    (tmp_path / "gb.yaml").write_text(text, encoding="utf-8")
    told = gb("status", "--config", tmp_path)
    assert told.out.count("never fetched") == 3
    assert gb("status", "nope", "--config", tmp_path).code == 1


def test_without_a_project_nobody_knows_what_should_be_there(gb: Gb, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    rows = gb("status", "--json", "--lake", project / "data", "--config", tmp_path / "elsewhere").json
    assert {row["behind_days"] for row in rows} == {None}
    assert "S04" not in {row["symbol"] for row in rows}


def test_incomplete_series_are_those_that_somebody_can_do_something_about(gb: Gb, project: Path) -> None:
    names = {row["symbol"] for row in gb("status", "mine:S*", "--incomplete", "--json", "--config", project).json}
    assert names >= {"S02", "S03", "S04"}
    assert not names & {"S00", "S05"}
    assert "complete" in gb("status", "mine:S00", "--incomplete", "--config", project).err


@pytest.mark.parametrize(("order", "first"), [("behind", "S04"), ("name", "S00"), ("missing", "S01"), ("bars", "S00")])
def test_status_is_sorted_by_what_is_asked(gb: Gb, project: Path, order: str, first: str) -> None:
    rows = gb("status", "mine:S*", "--sort", order, "--json", "--config", project).json
    assert rows[0]["symbol"] == first


def test_a_series_that_is_only_not_fetched_yet_is_not_a_misspelled_one(gb: Gb, project: Path) -> None:
    told = gb("gaps", "mine:S04", "--config", project)
    assert told.code == 1
    assert "mine:S04" in told.err
    assert "gb fetch" in told.err


def test_gaps_are_those_that_somebody_can_act_on_and_all_on_demand(gb: Gb, project: Path) -> None:
    shown = gb("gaps", "--config", project)
    assert "mine:S02" in shown.out
    assert "closed" not in shown.out
    assert MEANINGS[GapReason.UNKNOWN].split(";")[0] in shown.err.replace("\n  ", " ")
    everything = gb("gaps", "--all", "--config", project)
    assert "mine:S01" in everything.out
    assert "closed" not in everything.out
    assert all(row["reason"] != "closed" for row in gb("gaps", "--all", "--json", "--config", project).json)
    for told in (shown, everything):
        assert max(map(len, (told.out + told.err).splitlines())) <= 80


def test_consecutive_sessions_are_one_line_and_the_newest_come_first(gb: Gb, project: Path) -> None:
    lines = [line for line in gb("gaps", "mine:S01", "--all", "--config", project).out.splitlines() if "S01" in line]
    assert len(lines) == 2
    assert "2024-03-20" in lines[0]
    # A weekend lies between them, on which nothing is expected.
    assert "2024-03-08 .. 2024-03-11" in lines[1]
    assert "S01" not in gb("gaps", "mine:S01", "--all", "--end", "2024-03-08", "--config", project).out
    assert len(gb("gaps", "S01", "--all", "--start", "2024-03-11", "--json", "--config", project).json) == 2


def test_every_reason_has_a_meaning_and_can_be_asked_for(gb: Gb, project: Path) -> None:
    assert set(MEANINGS) == set(GapReason)
    for reason in GapReason:
        assert gb("gaps", "--reason", reason.value, "--config", project).code == 0
    assert gb("gaps", "--reason", "no_trades", "--config", project).code == 2


def test_a_gap_within_a_session_says_its_times() -> None:
    days = [date(2024, 1, day) for day in (1, 2, 3, 4)]
    key = {"source": "s", "symbol": "A", "resolution": "1h"}
    coverage = pl.DataFrame([{**key, "session": day, "expected": 24, "status": "partial"} for day in days])

    def run(day: int, start: int, hours: int, reason: str = "unknown") -> dict[str, object]:
        begin = datetime(2024, 1, day, start, tzinfo=UTC)
        return {
            **key,
            "session": date(2024, 1, day),
            "start": begin,
            "end": begin + timedelta(hours=hours),
            "missing": hours,
            "reason": reason,
            "incident": None,
        }

    runs = pl.DataFrame([run(1, 3, 2), run(1, 9, 1), run(2, 0, 24, "fetch_failed"), run(3, 5, 1), run(4, 0, 24)])
    groups = group_gaps(runs, coverage)
    assert [(str(g["first"]), str(g["last"]), g["reason"], g["runs"], g["missing"], g["whole"]) for g in groups] == [
        ("2024-01-03", "2024-01-04", "unknown", 2, 25, False),
        ("2024-01-02", "2024-01-02", "fetch_failed", 1, 24, True),
        ("2024-01-01", "2024-01-01", "unknown", 2, 3, False),
    ]


def test_nothing_missing_is_only_said_of_what_was_fetched(gb: Gb, project: Path) -> None:
    told = gb("gaps", "mine:S03", "--config", project)
    assert "of the sessions that were fetched, nothing is missing" in told.err
    # As many as `gb status` says.
    assert "3 sessions that are over were never fetched" in told.err
    assert "3 sessions that are over were never fetched" in gb("status", "mine:S03", "--config", project).err
    assert "never fetched" not in gb("gaps", "mine:S00", "--config", project).err
