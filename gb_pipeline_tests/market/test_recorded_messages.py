"""Recordings of cryptofeed and hftbacktest are cut into messages, byte by byte, with the time that was written."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import FormatRefused
from gb_pipeline.market.recorded_messages import (
    Direction,
    parse_cryptofeed,
    parse_hftbacktest,
    read_recording,
    to_nanoseconds,
)

MarketData = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "received", "sent", "answered"),
    [
        ("cryptofeed/KRAKEN.ws.50.0", 4321, 1, 0),
        ("cryptofeed/COINBASE.ws.28.0", 9946, 3, 0),
        ("cryptofeed/BINANCE.ws.1.0", 265, 0, 0),
        ("cryptofeed/BINANCE.http.0.0", 0, 0, 4),
        ("cryptofeed/KRAKEN.0", 0, 0, 1),
        ("hftbacktest-binance-spot-btcusdt_20240808.gz", 41248, 0, 1),
        ("hftbacktest-binance-usdm-btcusdt_20240718.gz", 11413, 0, 1),
        ("hftbacktest-hyperliquid-btcusd_20250126.gz", 55, 0, 0),
    ],
)
def test_real_recordings_are_read_to_the_last_line(
    market_data: MarketData, name: str, received: int, sent: int, answered: int
) -> None:
    messages = list(read_recording(market_data(f"order-book/{name}")))
    counts = [sum(message.direction is kind for message in messages) for kind in Direction]
    assert counts[1:4] == [sent, received, answered]
    assert all(message.data for message in messages if message.direction is not Direction.CONNECTED)
    times = [message.receive_time for message in messages]
    assert times == sorted(times)


def test_a_line_keeps_its_time_and_its_bytes() -> None:
    lines = [
        b"wss://a <-> 1618678132.3858151\n",
        b'wss://a <- 1618678132.8: {"event":"subscribe"}\n',
        b"\n",
        b'1618678132.8258188: {"a": "b: c <- 1.5: d"}\n',
        b"https://b/x?y=1 -> 1618678133: [1]\n",
        b"1618678134.5: \n",
    ]
    assert [tuple(message) for message in parse_cryptofeed(lines)] == [
        (1618678132_385815100, "wss://a", "connected", b""),
        (1618678132_800000000, "wss://a", "sent", b'{"event":"subscribe"}'),
        (1618678132_825818800, "wss://a", "received", b'{"a": "b: c <- 1.5: d"}'),
        (1618678133_000000000, "https://b/x?y=1", "answered", b"[1]"),
        (1618678134_500000000, "wss://a", "received", b""),
    ]


@given(st.integers(0, 2**63 - 1))
def test_seconds_are_read_digit_by_digit(nanoseconds: int) -> None:
    text = f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"
    assert to_nanoseconds(text) == nanoseconds
    assert to_nanoseconds(text.rstrip("0")) == nanoseconds


@given(st.lists(st.tuples(st.integers(10**18, 10**19 - 1), st.binary(max_size=40))))
def test_hftbacktest_lines_come_back(pairs: list[tuple[int, bytes]]) -> None:
    pairs = [(time, data.replace(b"\n", b"").replace(b"\r", b"")) for time, data in pairs]
    read = list(parse_hftbacktest([b"%d %s\n" % pair for pair in pairs], "x"))
    assert [(message.receive_time, message.data) for message in read] == pairs


@pytest.mark.parametrize(
    "line", [b"hello", b"1618678132.5 {}", b"wss://a <- 1618678132.5", b"wss://a -> x: {}", b"-1.5: {}", b'{"a":1}']
)
def test_any_other_line_is_refused_with_its_number(line: bytes) -> None:
    with pytest.raises(FormatRefused, match=r"line 2 of f\.txt is not a line of cryptofeed"):
        list(parse_cryptofeed([b"wss://a <-> 1618678132", line], place="f.txt"))
    with pytest.raises(FormatRefused, match="line 1 of the recording"):
        list(parse_hftbacktest([line], "x"))


def test_a_message_without_a_connection_is_refused() -> None:
    with pytest.raises(FormatRefused, match="none was opened before"):
        list(parse_cryptofeed([b"1618678132.5: {}"]))


def test_a_torn_archive_is_refused_after_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "torn.gz"
    path.write_bytes(gzip.compress(b"".join(b"1721347020984480942 {%d}\n" % number for number in range(50_000)))[:-9])
    messages = read_recording(path)
    with pytest.raises(FormatRefused, match="is damaged"):
        list(messages)
