"""Names on the command line: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.cli.names import keep_named, select
from gb_pipeline.errors import UnknownSeries
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.streams import SECOND, commit_trades

KNOWN = {
    "mine": ["S01", "S02", "S03", "S11"],
    "yours": ["S03", "T01"],
    "coinbase": ["BTC-USD", "ETH-USD"],
    "fx": ["EUR-USD"],
    "empty": [],
}


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        ([], KNOWN),
        (["mine"], {"mine": KNOWN["mine"]}),
        (["mine:"], {"mine": KNOWN["mine"]}),
        (["mine:S03"], {"mine": ["S03"]}),
        (["mine:s03"], {"mine": ["S03"]}),
        (["S03"], {"mine": ["S03"], "yours": ["S03"]}),
        (["t01"], {"yours": ["T01"]}),
        (["mine:S0*"], {"mine": ["S01", "S02", "S03"]}),
        (["S?1"], {"mine": ["S01", "S11"]}),
        (["*:BTC-USD"], {"coinbase": ["BTC-USD"]}),
        (["*:btc/usd"], {"coinbase": ["BTC-USD"]}),
        (["eurusd"], {"fx": ["EUR-USD"]}),
        (["*s:*"], {"yours": KNOWN["yours"]}),
        (["your*"], {"yours": KNOWN["yours"]}),
        (["mine:S[12]?"], {"mine": ["S11"]}),
        (["mine", "S01", "S03"], {"mine": ["S01", "S03"]}),
        (["mine", "S01", "yours"], {"mine": ["S01"], "yours": KNOWN["yours"]}),
        (["mine", "yours", "S03"], {"mine": KNOWN["mine"], "yours": ["S03"]}),
        (["yours:T01", "mine:S03", "mine:S01", "mine:S01"], {"mine": ["S01", "S03"], "yours": ["T01"]}),
        (["mine", "coinbase:ETH-USD"], {"mine": KNOWN["mine"], "coinbase": ["ETH-USD"]}),
        (["empty"], {"empty": []}),
    ],
)
def test_names_mean_sources_series_symbols_and_patterns_of_them(
    names: list[str], meaning: dict[str, list[str]]
) -> None:
    assert select(names, KNOWN, "the lake") == meaning
    assert list(select(names, KNOWN, "the lake")) == [source for source in KNOWN if source in meaning]


@pytest.mark.parametrize(
    ("names", "near"),
    [
        (["mien"], "mine"),
        (["MINE:S04"], "mine:S04"),
        (["mine:S04"], "mine:S03"),
        (["mine", "S04"], "mine:S03"),
        (["mine:S0"], "mine:S01"),
        (["mine:T01"], "yours:T01"),
        (["BTC.USD"], "BTC-USD"),
        (["btc-usdt"], "BTC-USD"),
        (["coinbas:BTC-USD"], "coinbase:BTC-USD"),
    ],
)
def test_a_name_that_means_nothing_is_refused_with_names_that_are_like_it(names: list[str], near: str) -> None:
    with pytest.raises(UnknownSeries) as refused:
        select(names, KNOWN, "the lake")
    assert near in refused.value.near
    assert near in refused.value.fix
    assert "did you mean" in refused.value.fix


@pytest.mark.parametrize(
    "name", ["", " ", "mine:X*", "zzz*", "*:Q9", "nothing:*", "empty:S01", "mine:QQQ", "a/b:c", "..", "[", "mine:["]
)
def test_nothing_is_never_selected_in_silence(name: str) -> None:
    with pytest.raises(UnknownSeries) as refused:
        select([name], KNOWN, "the lake")
    assert refused.value.fix
    with pytest.raises(UnknownSeries):
        select(["mine", "coinbase:BTC-USD", name], KNOWN, "the lake")


def test_every_unknown_name_is_named() -> None:
    with pytest.raises(UnknownSeries, match=r"'S77'.*'nope'"):
        select(["mine:S01", "S77", "nope"], KNOWN, "the lake")
    with pytest.raises(UnknownSeries, match="no series yet"):
        select(["mine"], {}, "the lake")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("status", "sim:BTC-USD"), "sim:BTC-USDT"),
        (("gaps", "sim:BTC-USD"), "sim:BTC-USDT"),
        (("show", "sim:BTC-USD"), "sim:BTC-USDT"),
        (("explain", "sim:BTC-USD", "2024-01-02T10:00Z"), "sim:BTC-USDT"),
        (("verify", "sim:BTC-USD"), "sim:BTC-USDT"),
        (("compact", "sim:BTC-USD"), "sim:BTC-USDT"),
        (("export", "sim:BTC-USD", "never.csv"), "sim:BTC-USDT"),
        (("replay", "sim", "BTC-USD"), "sim:BTC-USDT"),
        (("replay", "sin"), "did you mean sim"),
        (("actions", "fetch", "sim", "BTC-USD"), "sim:BTC-USDT"),
        (("symbols", "list", "sin"), "did you mean sim"),
        (("fetch", "sin"), "did you mean sim"),
        (("plan", "sin"), "did you mean sim"),
    ],
)
def test_every_command_refuses_a_misspelled_name_with_what_is_like_it(
    gb: Gb, stored: Path, command: tuple[str, ...], says: str
) -> None:
    told = gb(*command, "--config", stored)
    assert told.code != 0
    assert told.out == ""
    assert says in told.err


@pytest.mark.parametrize("command", [("status",), ("gaps", "--all"), ("verify",), ("compact",)])
@pytest.mark.parametrize("name", ["sim", "sim:BTC-USDT", "btc-usdt", "sim:*", "*:BTC*"])
def test_commands_that_read_the_lake_take_names_of_every_kind(
    gb: Gb, stored: Path, command: tuple[str, ...], name: str
) -> None:
    assert gb(command[0], name, *command[1:], "--config", stored).code == 0


def test_commands_for_one_series_take_a_symbol_alone(gb: Gb, stored: Path) -> None:
    assert gb("show", "btc-usdt", "--config", stored).code == 0
    assert gb("explain", "BTC*", "2024-01-02T10:00Z", "--config", stored).code == 0
    assert "one is needed" in gb("show", "sim:*", "--config", stored).err


def test_what_was_removed_of_all_symbols_is_listed_for_each_of_them(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_trades(lake.store, [1_704_153_600 * SECOND], symbol=symbol)
    lake.store.purge_streams("kraken", reason="not licensed any more")
    assert lake.removals()["symbol"].to_list() == ["*"]
    for name in ("kraken", "kraken:BTC-USD", "kraken:*"):
        assert keep_named(lake.removals(), lake, [name]).height == 1
    with pytest.raises(UnknownSeries):
        keep_named(lake.removals(), lake, ["coinbase:BTC-USD"])
