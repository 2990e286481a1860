"""`gb import`: a dry run, the import, and what a person and a script read of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gb_pipeline import Lake, Precision, Resolution
from gb_pipeline.cli.app import run
from gb_pipeline.config.settings import Settings
from gb_pipeline_tests.cli.console import Gb, Result


@pytest.fixture
def gb(capsys, monkeypatch, tmp_path) -> Gb:
    """Run a command in this process, in a folder without a project."""
    for name in ("GB_CONFIG", "GB_LAKE", "GB_STATE", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*arguments) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return call


def test_a_dry_run_shows_what_would_be_stored_and_the_import_stores_it(gb, bundle, tmp_path):
    preview = gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data", "--dry-run")
    assert preview.code == 0 and not (tmp_path / "data").exists()
    assert re.search(r"DELL 1d +2,494 +2,474 +20 ", preview.out) and "would store" in preview.out
    assert "DELL 1d: 20 quarantined: 20 x outside_session; the first one:" in preview.err
    assert "239 corporate actions would be stored" in preview.err and preview.err.endswith("nothing was stored\n")
    stored = gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data")
    assert stored.code == 0 and re.search(r"total +24,646 +24,626 +20", stored.out)
    assert "note: Prices are what zipline keeps: thousandths" in stored.err
    assert "    calendar: XNYS\n    start: 2004-01-02\n" in stored.err
    # From here on it is a source like any other.
    assert gb("verify", "--lake", "data").code == 0
    assert "bundle:DELL" in gb("status", "--lake", "data").out
    assert "import-" in gb("explain", "bundle:AAPL", "2014-06-09", "--lake", "data").out
    assert Lake.open(tmp_path / "data").bars("AAPL", "1d", source="bundle").height == 2769


def test_json_has_every_count(gb, bundle):
    report = gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data", "--symbols", "DELL,AAPL", "--json")
    assert report.code == 0
    assert report.json["total"] == {
        "received": 5263, "stored": 5243, "unchanged": 0, "quarantined": 20, "duplicates": 0, "unplaced": 20
    }  # fmt: skip
    assert [series["symbol"] for series in report.json["series"]] == ["AAPL", "DELL"]
    assert report.json["series"][1]["reasons"] == {"outside_session": 20}


def test_without_a_format_all_are_listed(gb):
    assert "zipline" in gb("import").out
    assert "zipline" in [item["format"] for item in gb("import", "--json").json]


def test_unusable_arguments_end_with_2(gb, bundle):
    assert gb("import", "zipline", bundle, "--lake", "data").code == 2
    assert gb("import", "zipline", "absent", "--source", "bundle", "--lake", "data").code == 2
    assert gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data", "--calendar", "XNYZ").code == 2


def test_a_series_of_which_nothing_is_good_ends_with_1(gb, bundle):
    """Tokyo's holidays are others than New York's, and its year has too many rows without a session."""
    wrong = gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data", "--calendar", "XTKS", "--dry-run")
    assert wrong.code == 1 and "x outside_session" in wrong.err


def test_the_same_files_are_the_same_import_and_others_are_refused(gb, bundle, own_bundle):
    assert gb("import", "zipline", bundle, "--source", "bundle", "--lake", "data", "--symbols", "AAPL").code == 0
    # A copy, reached by the folder above it.
    copy = gb("import", "zipline", own_bundle.parent, "--source", "bundle", "--lake", "data", "--symbols", "AAPL,AMD")
    assert copy.code == 0 and re.search(r"AAPL 1d +2,769 +0 +2,769", copy.out)
    (own_bundle / "more.txt").write_text("another bundle", encoding="utf-8")
    other = gb("import", "zipline", own_bundle, "--source", "bundle", "--lake", "data")
    assert other.code == 1 and "source bundle has bars already" in other.err


def write_candles(folder: Path, count: int, bad: int = 0) -> None:
    """Files of freqtrade: a pair each with a hundred hours, of which some open above their high."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        rows = [[1704067200000 + 3600000 * hour, 12 if hour < bad else 10, 11, 9, 10, 1] for hour in range(100)]
        (folder / f"P{number:03}_USDT-1h.json").write_text(json.dumps(rows), encoding="utf-8")


def test_lines_for_gb_yaml_make_a_project_of_the_same_series(gb, tmp_path):
    """With whatever every bar of the source was stored by, and each symbol that has bars."""
    write_candles(tmp_path / "candles", 30)
    done = gb("import", "freqtrade", "candles", "--source", "old", "--lake", "data", "--precision", "wide")
    assert done.code == 0, done.err
    lines = done.err.partition("with its provider and options:\n")[2]
    (tmp_path / "gb.yaml").write_text(
        f"lake: data\nsources:\n{lines}    options: {{exchange: binance}}\n", encoding="utf-8"
    )
    source = Settings.load(tmp_path / "gb.yaml").sources["old"]
    assert [symbol.code for symbol in source.symbols] == [f"P{number:03}-USDT" for number in range(30)]
    assert (source.provider, source.precision, source.resolutions) == ("ccxt", Precision.WIDE, (Resolution.HOUR,))


def test_lines_for_gb_yaml_name_what_has_bars(gb, tmp_path):
    write_candles(tmp_path / "candles", 1, bad=100)
    nothing = gb("import", "freqtrade", "candles", "--source", "old", "--lake", "data")
    assert nothing.code == 1 and "gb show" not in nothing.err and "gb.yaml" not in nothing.err


def test_rows_that_were_refused_with_others_say_how_they_are_stored(gb, tmp_path):
    write_candles(tmp_path / "candles", 1, bad=1)
    refused = gb("import", "freqtrade", "candles", "--source", "old", "--lake", "data", "--dry-run")
    assert "23 rows may be good" in refused.err and "--max-bad-fraction" in refused.err
    stored = gb("import", "freqtrade", "candles", "--source", "old", "--lake", "data", "--max-bad-fraction", "0.1")
    assert stored.code == 0 and "may be good" not in stored.err


def test_what_is_too_much_to_print_is_listed_by_the_command_that_is_named(gb, tmp_path):
    write_candles(tmp_path / "candles", 12, bad=1)
    done = gb("import", "freqtrade", "candles", "--source", "old", "--lake", "data")
    (command,) = re.findall(r"more series have quarantined rows; (gb .*) lists them", done.err)
    listed = gb(*command.split()[1:], "--lake", "data")
    assert listed.code == 0 and "P011-USDT" in listed.out
