"""`gb instruments` and `gb symbol`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gb_pipeline.cli.output import ExitCode
from gb_pipeline_tests.cli.console import Gb

NAMES = """symbol,valid_from,valid_until,name,composite_figi
FB,2012-05-18,2022-06-09,"Facebook, Inc.",BBG000MM2P62
META,2022-06-09,,"Meta Platforms, Inc.",BBG000MM2P62
META,2021-06-30,2022-01-31,Roundhill Ball Metaverse ETF,BBG011K55GD7
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "gb.yaml").write_text("lake: data\nsources: {}\n", encoding="utf-8")
    (tmp_path / "names.csv").write_text(NAMES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def told(gb: Gb, project: Path) -> Path:
    assert gb("instruments", "import", project / "names.csv", "-c", project).code == ExitCode.OK
    return project


def test_a_file_is_imported_once_and_listed(gb: Gb, told: Path) -> None:
    again = gb("instruments", "import", told / "names.csv", "-c", told)
    assert "3 rows of own: 0 new, 0 changed, 0 ended, 3 unchanged" in again.err
    listed = gb("instruments", "list", "fb", "-c", told)
    assert "META" in listed.out
    assert "Roundhill" not in listed.out
    assert "1 instrument, 2 rows" in listed.err
    rows = json.loads(gb("instruments", "list", "--json", "-c", told).out)
    assert [row["symbol"] for row in rows] == ["FB", "META", "META"]


def test_a_symbol_of_a_day_is_told_with_its_other_names(gb: Gb, told: Path) -> None:
    shown = gb("symbol", "fb", "--when", "2020-01-02", "-c", told)
    assert "Facebook, Inc." in shown.out
    assert "it also stood under META" in shown.err
    found = json.loads(gb("symbol", "META", "--when", "2021-12-31", "--json", "-c", told).out)
    assert found["name"] == "Roundhill Ball Metaverse ETF"
    nobody = gb("symbol", "FB", "--when", "2023-01-02", "-c", told)
    assert (nobody.code, nobody.out) == (ExitCode.FAILED, "")
    assert "2012-05-18 .. 2022-06-09" in nobody.err


def test_a_row_is_set_by_hand_and_keeps_what_it_says(gb: Gb, told: Path) -> None:
    gb("instruments", "set", "FB", "name=TheFacebook", "-c", told)
    found = json.loads(gb("symbol", "FB", "--when", "2020-01-02", "--json", "-c", told).out)
    assert (found["name"], found["valid_until"], found["composite_figi"]) == (
        "TheFacebook",
        "2022-06-09",
        "BBG000MM2P62",
    )
    many = gb("instruments", "set", "META", "name=M", "-c", told)
    assert (many.code, "--row 2021-06-30 or --row 2022-06-09" in many.err) == (ExitCode.USAGE, True)
    wrong = gb("instruments", "set", "FB", "name", "-c", told)
    assert (wrong.code, "'name' is not NAME=VALUE" in wrong.err) == (ExitCode.USAGE, True)


def test_a_vendors_word_is_corrected_row_by_row(gb: Gb, project: Path) -> None:
    """Massive lets META begin on a Saturday, two days late."""
    late = NAMES.replace("2022-06-09", "2022-06-11")
    (project / "massive.csv").write_text(late, encoding="utf-8")
    gb("instruments", "import", project / "massive.csv", "--source", "massive", "-c", project)
    gb("instruments", "set", "FB", "valid_until=2022-06-09", "-c", project)
    moved = gb("instruments", "set", "META", "--row", "2022-06-11", "valid_from=2022-06-09", "-c", project)
    assert moved.code == ExitCode.OK
    own = json.loads(gb("instruments", "list", "FB", "--source", "own", "--json", "-c", project).out)
    assert [(row["symbol"], row["valid_from"], row.get("valid_until")) for row in own] == [
        ("FB", "2012-05-18", "2022-06-09"),
        ("META", "2022-06-09", None),
    ]
    told = json.loads(gb("symbol", "META", "--when", "2022-06-10", "--json", "-c", project).out)
    assert (told["source"], told["composite_figi"]) == ("own", "BBG000MM2P62")
    added = gb("instruments", "set", "FB", "valid_from=2025-01-02", "name=Fly\x1b[31mBy", "-c", project)
    assert "1 row of own: 1 new" in added.err
    shown = gb("symbol", "FB", "--when", "2025-01-02", "-c", project).out
    assert "Fly [31mBy" in shown
    assert "\x1b" not in shown
    nowhere = gb("instruments", "set", "META", "--row", "2020-01-02", "name=M", "-c", project)
    assert (nowhere.code, "no row of META begins on 2020-01-02" in nowhere.err) == (ExitCode.USAGE, True)
    wrong = gb("instruments", "set", "FB", "--row", "2025-01-02", "tick_size=small", "-c", project)
    assert (wrong.code, "tick_size 'small' cannot be read" in wrong.err) == (ExitCode.USAGE, True)


def test_two_instruments_under_one_symbol_are_refused_with_both_named(gb: Gb, told: Path) -> None:
    refused = gb("instruments", "set", "FB", "valid_from=2020-01-02", "-c", told)
    assert refused.code == ExitCode.FAILED
    assert "FB is two instruments of own on one day" in refused.err
    assert "(Facebook, Inc.)" in refused.err


CHAIN = """symbol,expiry,asset_class
ESZ13,2013-12-20,future
ESH14,2014-03-21,future
ESM14,2014-06-20,future
"""


def test_rolls_are_made_corrected_and_stored(gb: Gb, project: Path) -> None:
    (project / "chain.csv").write_text(CHAIN, encoding="utf-8")
    gb("instruments", "import", project / "chain.csv", "-c", project)
    span = ("--start", "2013-12-02", "--end", "2014-04-01", "--calendar", "CMES", "-c", project)
    made = gb("rolls", "make", "es", "--days-before", "1", *span)
    assert made.out.splitlines() == [
        "session,from_symbol,to_symbol", "2013-12-20,ESZ13,ESH14", "2014-03-21,ESH14,ESM14",
    ]  # fmt: skip
    file = project / "rolls.csv"
    file.write_text(made.out.replace("2013-12-20", "2013-12-13"), encoding="utf-8")
    assert "2 rolls of ES, 2 of them new" in gb("rolls", "import", "ES", file, "-c", project).err
    assert "0 of them new" in gb("rolls", "import", "ES", file, "-c", project).err
    shown = json.loads(gb("rolls", "show", "ES", "--json", "-c", project).out)
    assert [row["session"] for row in shown] == ["2013-12-13", "2014-03-21"]
    file.write_text("session,from_symbol,to_symbol\n13.12.2013,ESZ13,ESH14\n", encoding="utf-8")
    wrong = gb("rolls", "import", "ES", file, "-c", project)
    assert (wrong.code, "row 1: session '13.12.2013' is not a date" in wrong.err) == (ExitCode.USAGE, True)
    unknown = gb("rolls", "make", "NQ", *span)
    assert (unknown.code, "no contract of 'NQ' is known" in unknown.err) == (ExitCode.FAILED, True)
