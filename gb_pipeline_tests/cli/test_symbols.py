"""`gb symbols`: what a person sees and what changes in which file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import PROJECT, Gb

DISCOVERED = """
  found:
    provider: ccxt
    options: {exchange: binance, base_url: "${GB_SIM_URL}"}
    asset_class: crypto
    start: 2024-01-01
    symbols:
      # The large ones.
      discover:
        quote: USDT
        top: 2
    resolutions: [1h]
    retries: 0
  filed:
    provider: csv
    options: {path: "prices/{symbol}.csv"}
    start: 2024-01-01
    symbols: {file: symbols.csv}
    resolutions: [1d]
"""


@pytest.fixture
def many(tmp_path: Path, exchange: Simulation) -> Iterator[Path]:
    # A day on which BTC had the largest turnover and SOL the smallest: they change from hour to hour.
    exchange.exchange.set_now(datetime(2026, 11, 1, tzinfo=UTC))
    (tmp_path / "gb.yaml").write_text(PROJECT + DISCOVERED, encoding="utf-8")
    (tmp_path / "symbols.csv").write_text("code,vendor,name\nKO,ko,Coca-Cola\n", encoding="utf-8")
    yield tmp_path
    exchange.exchange.set_now(None)


@pytest.fixture
def whole(exchange: Simulation) -> Iterator[Simulation]:
    listed = dict(exchange.exchange.instruments)
    yield exchange
    exchange.exchange.instruments.update(listed)


def symbols(folder: Path, source: str) -> list[str]:
    return [symbol.code for symbol in Settings.load(folder).source(source).instruments]


def test_symbols_are_added_to_the_list_and_nothing_else_changes(gb: Gb, many: Path) -> None:
    before = (many / "gb.yaml").read_text(encoding="utf-8")
    told = gb("symbols", "add", "sim", "sol/usdt", "BTC-USDT", "-c", many)
    assert told.code == 0
    assert "SOL-USDT added" in told.err
    assert "BTC-USDT is already a symbol of sim" in told.err
    expected = before.replace("symbols: [BTC-USDT, ETH-USDT]", "symbols: [BTC-USDT, ETH-USDT, SOL-USDT]")
    assert (many / "gb.yaml").read_text(encoding="utf-8") == expected
    assert gb("symbols", "remove", "sim", "SOL-USDT", "-c", many).code == 0
    assert (many / "gb.yaml").read_text(encoding="utf-8") == before


def test_what_the_vendor_does_not_list_is_not_added_unless_said_so(gb: Gb, many: Path) -> None:
    before = (many / "gb.yaml").read_bytes()
    told = gb("symbols", "add", "sim", "SOL-USDT", "NOPE-USDT", "-c", many)
    assert (told.code, "does not list NOPE-USDT" in told.err) == (1, True)
    assert (many / "gb.yaml").read_bytes() == before
    assert gb("symbols", "add", "sim", "NOPE-USDT", "--no-check", "-c", many).code == 0
    assert symbols(many, "sim") == ["BTC-USDT", "ETH-USDT", "NOPE-USDT"]


def test_a_vendor_that_cannot_be_asked_ends_with_three_and_changes_nothing(
    gb: Gb, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GB_SIM_URL", "http://127.0.0.1:9")
    before = (many / "gb.yaml").read_bytes()
    for command in (("add", "sim", "SOL-USDT"), ("search", "sim", "sol"), ("refresh", "found")):
        told = gb("symbols", *command, "-c", many)
        assert told.code == 3
        assert len(told.err.splitlines()) == 2
    assert (many / "gb.yaml").read_bytes() == before
    assert gb("symbols", "add", "sim", "SOL-USDT", "--no-check", "-c", many).code == 0


def test_a_file_of_symbols_is_edited_where_there_is_one(gb: Gb, many: Path) -> None:
    for code in ("KO", "MSFT", "BRK.B"):
        (many / "prices").mkdir(exist_ok=True)
        (many / "prices" / f"{code}.csv").touch()
    before = (many / "gb.yaml").read_bytes()
    gb_yaml = Settings.load(many)
    assert gb_yaml.source("filed").universe.path == many / "symbols.csv"
    told = gb("symbols", "add", "filed", "msft", "brk/b", "--no-check", "--json", "-c", many)
    assert told.json["added"] == ["MSFT", "BRK.B"]
    assert told.json["changed"] == [{"file": str(many / "symbols.csv"), "where": "", "codes": ["MSFT", "BRK.B"]}]
    assert (many / "symbols.csv").read_text(encoding="utf-8") == "code,vendor,name\nKO,ko,Coca-Cola\nMSFT,,\nBRK.B,,\n"
    assert gb("symbols", "remove", "filed", "KO", "-c", many).code == 0
    assert (many / "symbols.csv").read_text(encoding="utf-8") == "code,vendor,name\nMSFT,,\nBRK.B,,\n"
    assert (many / "gb.yaml").read_bytes() == before


def test_files_on_disk_are_what_a_folder_lists(gb: Gb, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(many)
    (many / "prices").mkdir()
    (many / "prices/PEP.csv").touch()
    assert [row["code"] for row in gb("symbols", "search", "filed", "pep", "--json").json] == ["PEP"]
    assert gb("symbols", "add", "filed", "PEP").code == 0
    assert gb("symbols", "add", "filed", "NOPE").code == 1


def test_a_discovery_begins_empty_and_everything_still_works(gb: Gb, many: Path) -> None:
    listed = gb("symbols", "list", "found", "-c", many)
    assert (listed.code, "gb symbols refresh found" in listed.err) == (0, True)
    assert gb("symbols", "list", "found", "--json", "-c", many).json == []
    fetched = gb("fetch", "found", "--start", "2024-01-02", "--end", "2024-01-03", "-c", many)
    assert (fetched.code, "no symbols yet" in fetched.err) == (0, True)
    planned = gb("plan", "found", "-c", many)
    assert (planned.code, "no symbols yet" in planned.err) == (0, True)
    assert (
        gb("fetch", "found", "--start", "2024-01-02", "--end", "2024-01-03", "--json", "-c", many).json["symbols"] == []
    )
    finding = next(row for row in gb("doctor", "--json", "-c", many).json if row["check"] == "source found")
    assert "no symbols yet" in finding["detail"]
    assert "gb symbols refresh found" in finding["fix"]


def test_a_discovery_is_refreshed_listed_excluded_and_brought_back(gb: Gb, many: Path) -> None:
    done = gb("symbols", "refresh", "found", "--json", "-c", many).json
    assert (done["listed"], done["chosen"], [item["kind"] for item in done["changes"]]) == (3, 2, ["joined"] * 2)
    assert symbols(many, "found") == ["BTC-USDT", "ETH-USDT"]
    assert "nothing changed" in gb("symbols", "refresh", "found", "-c", many).err
    row = gb("symbols", "list", "found", "--json", "-c", many).json[0]
    assert (row["code"], row["vendor"], row["exchange"], row["left"]) == ("BTC-USDT", "BTC/USDT", "binance", None)

    before = (many / "gb.yaml").read_text(encoding="utf-8")
    assert gb("symbols", "remove", "found", "ETH-USDT", "-c", many).code == 0
    assert symbols(many, "found") == ["BTC-USDT"]
    text = (many / "gb.yaml").read_text(encoding="utf-8")
    assert text == before.replace("      discover:\n", "      discover:\n        exclude: [ETH-USDT]\n")
    # What is excluded is not chosen: another one is among the two largest now.
    assert gb("symbols", "refresh", "found", "-c", many).code == 0
    assert symbols(many, "found") == ["BTC-USDT", "SOL-USDT"]

    assert gb("symbols", "add", "found", "ETH-USDT", "-c", many).code == 0
    assert symbols(many, "found") == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    assert "list" not in yaml.safe_load((many / "gb.yaml").read_text(encoding="utf-8"))["sources"]["found"]["symbols"]


def test_what_a_discovery_does_not_hold_is_listed_beside_it(gb: Gb, many: Path) -> None:
    gb("symbols", "refresh", "found", "-c", many)
    assert gb("symbols", "add", "found", "SOL-USDT", "-c", many).code == 0
    assert symbols(many, "found") == ["SOL-USDT", "BTC-USDT", "ETH-USDT"]
    assert gb("symbols", "remove", "found", "SOL-USDT", "BTC-USDT", "-c", many).code == 0
    assert symbols(many, "found") == ["ETH-USDT"]
    assert (
        gb("fetch", "found", "--start", "2024-01-02", "--end", "2024-01-03", "--json", "-c", many).json["symbols"][0][
            "rows"
        ]
        == 24
    )


def test_a_list_that_lost_most_of_itself_is_refused(gb: Gb, many: Path, whole: Simulation) -> None:
    gb("symbols", "refresh", "found", "-c", many)
    before = (many / "data/universe/found.csv").read_bytes()
    for code in ("BTC-USDT", "ETH-USDT"):
        del whole.exchange.instruments[code]
    told = gb("symbols", "refresh", "found", "-c", many)
    assert (told.code, "--force" in told.err) == (1, True)
    assert (many / "data/universe/found.csv").read_bytes() == before
    forced = gb("symbols", "refresh", "found", "--force", "-c", many)
    assert (forced.code, "2 left" in forced.err, "2 delisted" in forced.err) == (0, True, True)
    today = Settings.load(many).source("found").listing("BTC-USDT")[1]
    assert gb("symbols", "list", "found", "--on", str(today), "--json", "-c", many).json[0]["code"] == "SOL-USDT"


def test_removing_says_how_much_stays(gb: Gb, many: Path) -> None:
    gb("fetch", "sim", "ETH-USDT", "-r", "1h", "--start", "2024-01-02", "--end", "2024-01-04", "-c", many)
    told = gb("symbols", "remove", "sim", "ETH-USDT", "--json", "-c", many)
    assert told.json["stored_bars"] == {"ETH-USDT": 48}
    assert gb("show", "sim:ETH-USDT", "-r", "1h", "-c", many).code == 0
    assert symbols(many, "sim") == ["BTC-USDT"]
    assert gb("symbols", "remove", "sim", "BTC-USDT", "-c", many).code == 0
    assert symbols(many, "sim") == []


def test_members_on_a_day(gb: Gb, many: Path) -> None:
    (many / "index.csv").write_text("code,from,until\nOLD,,2024-06-03\nNEW,2024-06-03,\n", encoding="utf-8")
    text = (many / "gb.yaml").read_text(encoding="utf-8").replace("{file: symbols.csv}", "{members: {file: index.csv}}")
    (many / "gb.yaml").write_text(text, encoding="utf-8")
    for day, member in (("2024-06-02", "OLD"), ("2024-06-03", "NEW")):
        [row] = gb("symbols", "list", "filed", "--on", day, "--json", "-c", many).json
        assert row["code"] == member
    assert gb("symbols", "remove", "filed", "OLD", "-c", many).code == 0
    assert symbols(many, "filed") == ["NEW"]
    assert gb("symbols", "add", "filed", "OLD", "--no-check", "-c", many).code == 0
    assert symbols(many, "filed") == ["NEW", "OLD"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("list", "nope"), 2, "no source 'nope'"),
        (("list", "sim", "--on", "2024-13-01"), 2, "is not a date"),
        (("add", "sim", "../../etc"), 2, "canonical code"),
        (("add", "sim"), 2, "Missing argument"),
        (("remove", "sim", "ETH-USDC"), 2, "did you mean ETH-USDT"),
        (("refresh", "sim"), 2, "are not discovered"),
        (("search", "sim", " "), 2, "nothing to search for"),
        (("search", "sim", "nothing-of-the-kind"), 1, "0 instruments"),
        (("nope",), 2, "No such command"),
    ],
)
def test_mistakes_are_said_in_two_lines(gb: Gb, many: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    told = gb("symbols", *arguments, *([] if arguments == ("nope",) else ["-c", many]))
    assert told.code == code
    assert says in told.err


def test_two_who_add_at_once_both_get_what_they_want(gb: Gb, many: Path) -> None:
    command = [sys.executable, "-m", "gb_pipeline.cli", "symbols", "add", "sim", "--no-check", "-c", str(many)]
    running = [subprocess.Popen([*command, f"C{number}-USDT"], stderr=subprocess.DEVNULL) for number in range(2)]
    assert [process.wait() for process in running] == [0] * 2
    assert sorted(symbols(many, "sim")) == ["BTC-USDT", "C0-USDT", "C1-USDT", "ETH-USDT"]
