"""`gb fetch`: what arrives, what is said about it, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

DAY = ("--start", "2024-01-02", "--end", "2024-01-03")
TWO_DAYS = ("--start", "2024-01-02", "--end", "2024-01-04")


def test_a_day_is_stored_told_and_in_the_catalog(gb: Gb, project: Path) -> None:
    told = gb("fetch", "sim", "BTC-USDT", *DAY, "--config", project)
    assert told.code == 0
    assert "1,440" in told.out
    assert "complete" in told.out
    assert "1 of 1 sessions changed" in told.err
    assert not catalog_is_stale(LakeStore.at(project / "data"))


def test_what_is_stored_is_not_asked_for_and_again_compares_it(gb: Gb, project: Path, exchange: Simulation) -> None:
    gb("fetch", "sim", "BTC-USDT", *DAY, "--config", project)
    exchange.requests.clear()
    told = gb("fetch", "sim", "BTC-USDT", *DAY, "--config", project)
    assert (told.code, told.out, len(exchange.requests)) == (0, "", 0)
    assert "sim 1m: nothing to fetch: the only session since 2024-01-02 is stored" in told.err
    again = gb("fetch", "sim", "BTC-USDT", *DAY, "--again", "--config", project)
    assert (again.code, "nothing changed" in again.err) == (0, True)
    assert len(exchange.requests) > 1


def test_the_plan_comes_first(gb: Gb, project: Path) -> None:
    gb("fetch", "sim", "ETH-USDT", *DAY, "--config", project)
    told = gb("fetch", "sim", *TWO_DAYS, "--config", project)
    what, why, work = told.err.splitlines()[:3]
    assert what == "sim 1m: 4 sessions of 2 symbols, 2024-01-02 to 2024-01-03"
    assert why == "  3 never fetched, 1 with unexplained gaps"
    assert work.startswith("  7 calls, 5,760 bars, ")


def test_json_says_per_symbol_what_became_of_it(gb: Gb, project: Path) -> None:
    told = gb("fetch", "sim", *TWO_DAYS, "--json", "--config", project)
    assert told.code == 0
    assert told.json["resolution"] == "1m"
    rows = {row["symbol"]: row for row in told.json["symbols"]}
    assert rows["ETH-USDT"]["missing"] == 12
    assert rows["ETH-USDT"]["status"] == "1 complete, 1 partial"
    assert rows["ETH-USDT"]["statuses"] == {"complete": 1, "partial": 1}
    assert rows["BTC-USDT"]["quarantined"] == 1
    assert rows["BTC-USDT"]["rows"] == 2 * 1440 - 1


def test_a_bar_that_the_vendor_sends_no_longer_is_counted_and_kept(gb: Gb, tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text(
        f"sources: {{mine: {{provider: csv, options: {{path: '{{symbol}}.csv', root: {tmp_path}}}, symbols: [A],"
        " start: 2024-01-01, end: 2024-01-04, resolutions: [1d]}}",
        encoding="utf-8",
    )
    lines = ["date,open,high,low,close,volume", *(f"2024-01-0{day},1,2,1,2,7" for day in (1, 2, 3))]
    for sent in (lines, [*lines[:2], *lines[3:]]):
        (tmp_path / "A.csv").write_text("\n".join(sent), encoding="utf-8")
        told = gb("fetch", "mine", "--again", "--config", tmp_path)
    heading, _, values = told.out.strip().splitlines()[:3]
    shown = dict(zip(heading.split(), values.split(), strict=False))
    assert (shown["bars"], shown["stored"], shown["withdrawn"]) == ("3", "0", "1")
    assert "2 rows received: 0 stored, 2 unchanged" in told.err
    assert (
        "withdrawn"
        not in gb("fetch", "mine", "--start", "2024-01-01", "--end", "2024-01-02", "--again", "-c", tmp_path).out
    )


def test_without_a_resolution_the_first_one_is_fetched_and_what_fetches_the_others_is_said(
    gb: Gb, project: Path
) -> None:
    told = gb("fetch", "sim", "BTC-USDT", *DAY, "--config", project)
    assert "only 1m was fetched: `-r` names another one, `gb update sim` fetches 1h too" in " ".join(told.err.split())
    held = gb("sql", "select symbol, resolution from symbol_data", "--json", "--config", project).json
    assert held == [{"symbol": "BTC-USDT", "resolution": "1m"}]


def test_months_are_one_line_per_symbol_and_another_resolution_can_be_named(gb: Gb, project: Path) -> None:
    told = gb(
        "fetch", "sim", "btc/usdt", "-r", "1h", "--start", "2024-01-30", "--end", "2024-03-02", "--json", "-c", project
    )
    [row] = told.json["symbols"]
    assert (row["symbol"], row["sessions"], row["rows"]) == ("BTC-USDT", 32, 32 * 24)


def test_without_a_network_it_ends_with_three_and_two_lines(
    gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GB_SIM_URL", "http://127.0.0.1:9")
    told = gb("fetch", "sim", "BTC-USDT", "ETH-USDT", *DAY, "--json", "--config", project)
    assert told.code == 3
    what, fix = told.err.splitlines()
    assert "cannot be reached" in what
    assert fix.startswith("  -> ")
    assert {row["status"] for row in told.json["symbols"]} == {"failed"}


def test_a_symbol_that_gb_yaml_does_not_have_never_reaches_the_vendor_or_the_lake(
    gb: Gb, project: Path, exchange: Simulation
) -> None:
    exchange.requests.clear()
    for names in (("sim", "BTC-USD"), ("sim:BTC-USD",)):
        told = gb("fetch", *names, *DAY, "--config", project)
        assert (told.code, told.out) == (2, "")
        what, fix = told.err.splitlines()
        assert "BTC-USD" in what
        assert "did you mean sim:BTC-USDT" in fix or "did you mean BTC-USDT" in fix
        assert "`gb symbols add sim BTC-USD` adds it" in fix
    assert not exchange.requests
    assert not (project / "data").exists()


@pytest.mark.parametrize("names", [("sim:BTC*",), ("sim", "btc/usdt"), ("sim:BTC-USDT",)])
def test_names_are_series_symbols_and_patterns(gb: Gb, project: Path, names: tuple[str, ...]) -> None:
    told = gb("fetch", *names, *DAY, "--json", "--config", project)
    assert [row["symbol"] for row in told.json["symbols"]] == ["BTC-USDT"]


def test_a_symbol_that_the_vendor_does_not_list_ends_with_one(gb: Gb, project: Path) -> None:
    file = project / "gb.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("ETH-USDT", "NOPE-USDT"), encoding="utf-8")
    told = gb("fetch", "sim", "NOPE-USDT", *DAY, "--config", project)
    assert told.code == 1
    assert "does not list NOPE-USDT" in told.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fetch", "nope"), "nothing that is called 'nope'"),
        (("fetch", "sim", "BTC-USDT", "--start", "2024-13-01"), "--start: '2024-13-01' is not a date"),
        (("fetch", "sim", "--start", "2024-01-02", "--end", "2024-01-02"), "is not after"),
        (("fetch", "sim", "--start", "2199-01-01"), "has not begun"),
        (("fetch", "sim", "../../etc"), "nothing that is called 'sim:../../etc'"),
        (("fetch", "sim", "-r", "7m"), "'7m' is not a resolution"),
        (("fetch",), "Missing argument"),
        (("fetch", "sim", "--nope"), "No such option"),
        (("nope",), "No such command 'nope'"),
    ],
)
def test_unusable_arguments_end_with_two_and_two_lines(
    gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(project)
    told = gb(*arguments)
    assert (told.code, told.out) == (2, "")
    what, fix = told.err.splitlines()
    assert says in what
    assert fix.startswith("  -> ")
    assert not (project / "data").exists()


def test_a_session_that_is_refused_ends_with_one_and_says_why(gb: Gb, project: Path) -> None:
    file = project / "own" / "BTC-USDT.csv"
    file.parent.mkdir()
    file.write_text("timestamp,open,high,low,close,volume\n2024-01-02,5,1,9,5,1\n", encoding="utf-8")
    (project / "gb.yaml").write_text(
        "sources:\n  own:\n    provider: csv\n    asset_class: crypto\n    start: 2024-01-01\n    symbols: [BTC-USDT]\n"
        f"    resolutions: [1d]\n    options: {{root: {project}/own, path: '{{symbol}}.csv'}}\n",
        encoding="utf-8",
    )
    told = gb("fetch", "own", *DAY, "--config", project)
    assert told.code == 1
    assert "BTC-USDT 2024-01-02 was refused" in told.err
    assert "high_not_highest" in told.err


def test_an_unset_variable_of_gb_yaml_is_named(gb: Gb, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GB_SIM_URL")
    told = gb("fetch", "sim", *DAY, "--config", project)
    assert told.code == 2
    assert "GB_SIM_URL" in told.err


def _own_files(folder: Path, days: int) -> Path:
    """A project of ten days whose file holds the first of them."""
    config = folder / "gb.yaml"
    config.write_text(
        "lake: data\nsources:\n  own: {provider: csv, asset_class: crypto, calendar: 24/7, start: 2024-01-01, end: 2024-01-11, "
        f"symbols: [BTC-USD], resolutions: [1d], options: {{root: {folder}, path: in.csv}}}}\n",
        encoding="utf-8",
    )
    lines = "".join(f"2024-01-{day:02},1,2,0.5,1.5,10\n" for day in range(1, days + 1))
    (folder / "in.csv").write_text(f"timestamp,open,high,low,close,volume\n{lines}", encoding="utf-8")
    return config


def test_sessions_that_were_empty_are_not_called_stored(gb: Gb, tmp_path: Path) -> None:
    config = _own_files(tmp_path, 6)
    gb("fetch", "own", "--config", config)
    told = gb("fetch", "own", "--config", config)
    assert "of 10 sessions since 2024-01-01 6 are stored, and 4 were empty when they were asked for" in " ".join(
        told.err.split()
    )


def test_bars_that_the_vendor_sends_no_longer_are_told(gb: Gb, tmp_path: Path) -> None:
    gb("fetch", "own", "--config", _own_files(tmp_path, 10))
    told = gb("fetch", "own", "--again", "--config", _own_files(tmp_path, 7))
    assert told.code == 0
    assert [line.split()[-1] for line in told.out.splitlines() if "symbol" in line] == ["status"]
    assert "withdrawn" in told.out
    again = gb("fetch", "own", "--again", "--json", "--config", tmp_path / "gb.yaml")
    [row] = again.json["symbols"]
    assert (row["received"], row["unchanged"], row["rows"], row["withdrawn"]) == (7, 7, 10, 3)


def test_numbers_that_cannot_be_read_name_the_options_that_read_them(gb: Gb, tmp_path: Path) -> None:
    config = _own_files(tmp_path, 10)
    file = tmp_path / "in.csv"
    file.write_text(
        file.read_text(encoding="utf-8").replace("03,1,2,0.5,1.5,10", "03,1,2,0.5,1.5,58.41M"), encoding="utf-8"
    )
    told = gb("fetch", "own", "--config", config)
    assert (told.code, "1 x unreadable_number" in told.err) == (1, True)
    assert "`thousands`, `decimal_comma` or `suffixes`" in " ".join(told.err.split())
