"""Near names: what somebody may have meant, and no neighbours in a numbered list."""

from __future__ import annotations

import pytest

from gb_pipeline.market.spelling import near_names


@pytest.mark.parametrize(
    ("said", "names", "near"),
    [
        ("btc/usd", ["XRP-EUR", "BTC-USD", "BTC-USDT"], ["BTC-USD", "BTC-USDT"]),
        ("S07", ["S00", "S01", "S17"], []),
        ("S7", ["S05", "S07", "S09"], ["S07"]),
        ("S03", ["S01", "S02", "S09"], ["S02"]),
        ("calender", ["calendar", "columns"], ["calendar"]),
        ("AAPLL", ["AAPL", "MSFT"], ["AAPL"]),
        ("", ["A"], []),
    ],
)
def test_near_names(said: str, names: list[str], near: list[str]) -> None:
    assert near_names(said, names) == near


def test_no_more_than_three_are_near() -> None:
    assert len(near_names("BTC-USD", [f"BTC-USD{letter}" for letter in "ABCDEF"])) == 3
