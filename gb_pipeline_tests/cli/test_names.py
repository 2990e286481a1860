"""Names on the command line: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import pytest

from gb_pipeline.cli.names import select
from gb_pipeline.errors import UnknownSeries

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
