"""The example of a venue, built and installed as a user would, is found by its entry point and reads a real recording of Gemini."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.recorded_messages import Direction, read_recording

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gb-venue-gemini"
SYMBOLS = [
    "BTC-GBP",
    "LINK-ETH",
    "FIL-USD",
    "ZEC-LTC",
    "BAT-BTC",
    "ETH-EUR",
    "LTC-ETH",
    "GRT-USD",
    "ANKR-USD",
    "ALCX-USD",
]
DECODE = """
import json, sys
from pathlib import Path
from gb_pipeline.collectors import MessageRows, Subscription
from gb_pipeline.collectors.columns import to_columns
from gb_pipeline.collectors.registry import venue_class, venue_names
from gb_pipeline.market.recorded_messages import Direction, read_recording
assert "gemini" in venue_names()
venue = venue_class("gemini").from_options("gemini", {})
wanted = [Subscription(d, s, venue.venue_symbol(s)) for s in json.loads(sys.argv[2]) for d in venue.datasets]
[connection] = venue.connections(wanted)
decoder, rows = venue.decoder(connection), MessageRows()
for message in read_recording(Path(sys.argv[1])):
    if message.direction is Direction.RECEIVED:
        decoder.decode(message.data, message.receive_time, rows)
columns = to_columns(rows, "gemini", venue.time_unit, "one")
print(json.dumps({
    "opening": venue.opening(connection)[0].decode(), "trades": rows.trades, "updates": rows.updates,
    "snapshots": rows.snapshots, "messages": rows.messages, "unreadable": rows.unreadable,
    "signals": sorted({s.kind.value for s in rows.signals}), "refused": columns.refused.height,
    "stored": {name: frame.height for name, frame in columns.tables.items()},
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built package in it. Nothing is downloaded."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not on the path")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "example")
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [uv, "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--python", sys.executable,
         "--target", str(target), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest) -> Path:
    market_data: Callable[[str], Path] = request.getfixturevalue("market_data")
    return market_data("order-book/cryptofeed/GEMINI.ws.1.0")


@pytest.fixture(scope="module")
def decoded(installed: Path, recording: Path) -> dict[str, Any]:
    """What the installed package makes of the recording, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", DECODE, str(recording), json.dumps(SYMBOLS)],
        env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_message_of_a_real_recording_is_read(decoded: dict[str, Any], recording: Path) -> None:
    messages = [json.loads(m.data) for m in read_recording(recording) if m.direction is Direction.RECEIVED]
    trades = [message for message in messages if message["type"] == "trade"]
    changes = [message for message in messages if message["type"] == "l2_updates"]
    assert (decoded["messages"], decoded["unreadable"], decoded["refused"]) == (len(messages), 0, 0)
    assert [(row[1], row[3], row[4], row[5], row[6]) for row in decoded["trades"]] == [
        (said["timestamp"], said["side"], said["price"], said["quantity"], str(said["event_id"])) for said in trades
    ]
    assert len(decoded["snapshots"]) == len(SYMBOLS)
    assert len(decoded["snapshots"]) + len(decoded["updates"]) == len(changes) > 600
    assert decoded["signals"] == ["snapshot", "subscribed"]
    levels = sum(len(said["changes"]) for said in changes)
    stored = decoded["stored"]
    assert sum(count for name, count in stored.items() if name.startswith("book_")) == levels
    assert sum(count for name, count in stored.items() if name.startswith("trades")) == len(trades)


def test_it_asks_for_what_the_recording_asked_for(decoded: dict[str, Any], recording: Path) -> None:
    [sent] = [json.loads(m.data) for m in read_recording(recording) if m.direction is Direction.SENT]
    asked = json.loads(decoded["opening"])
    assert asked["type"] == sent["type"]
    assert [set(item["symbols"]) for item in asked["subscriptions"]] == [set(sent["subscriptions"][0]["symbols"])]


def test_no_book_of_the_recording_ever_crosses(decoded: dict[str, Any]) -> None:
    books = {}
    for symbol, _, _, bids, asks, *_ in decoded["snapshots"]:
        books[symbol] = OrderBook()
        books[symbol].lay([tuple(level) for level in bids], [tuple(level) for level in asks])
        assert Decimal(bids[0][0]) == max(Decimal(price) for price, _ in bids)
    for symbol, _, _, bids, asks, *_ in decoded["updates"]:
        books[symbol].apply([tuple(level) for level in bids], [tuple(level) for level in asks])
        assert not books[symbol].crossed


def test_gb_collect_knows_it_in_the_readmes_project(installed: Path, tmp_path: Path) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (tmp_path / "gb.yaml").write_text(text.split("```yaml gb.yaml\n")[1].split("```")[0], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "gb_pipeline.cli", "collect", "--check"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BTC-USD" in done.stdout + done.stderr
    assert "gemini" in done.stdout + done.stderr
