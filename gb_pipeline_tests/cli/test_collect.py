"""`gb collect`, as a person or a service runs it: a process that hears, and what is said of it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from gb_pipeline.cli.collect_status import _view
from gb_pipeline.collectors.flush import SPOOLED
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.collectors.state import CollectorState, StreamState
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stream_evidence import measure_stored, read_watermarks
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.collectors.plain import PlainServer

SECOND = 1_000_000_000
# The venue of the tests is none of the package's.
PROGRAM = (
    "import sys\n"
    "from gb_pipeline_tests.collectors import plain\n"
    "plain.register()\n"
    "from gb_pipeline.cli.app import run\n"
    "sys.exit(run(sys.argv[1:]))"
)


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: never"
        time.sleep(0.02)
    return value


def write(folder: Path, streams: dict[str, Any], **collect: Any) -> Settings:
    document = {"lake": "data", "collect": {"collector": "one", "fsync_seconds": 0.1, "streams": streams} | collect}
    (folder / "gb.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return Settings.load(folder)


def trade(number: int) -> dict[str, Any]:
    return {"e": "trade", "s": "BTC-USD", "n": number, "t": time.time_ns(), "p": "100.5", "q": "0.25"}


class Process:
    """`gb collect` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "collect", "-c", str(folder), *arguments],
                stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | {"COLUMNS": "160"},
            )  # fmt: skip

    def said(self) -> str:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        return self.log.read_text(encoding="utf-8")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out, self.log.read_text(encoding="utf-8")


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, server: PlainServer) -> Settings:
    stream = {"venue": "plain", "symbols": ["BTC-USD"], "options": {"url": server.url, "token": "very-secret"}}
    return write(tmp_path, {"feed": stream})


def test_it_hears_shows_itself_and_commits_when_it_ends(
    gb: Gb, settings: Settings, server: PlainServer, tmp_path: Path
) -> None:
    collector = Process(tmp_path, "--metrics-port", str(port := free_port()))
    try:
        wait_for(lambda: collector.said() and server.connected, "a connection")
        server.send(*map(trade, range(1, 101)))

        def state() -> CollectorState | None:
            assert collector.said()
            found = CollectorState.read(settings.spool)
            return found if found is not None and found.messages >= 100 else None

        wait_for(state, "a hundred messages")
        told = gb("collect", "--status", "--json", "-c", tmp_path)
        assert (told.code, told.json["problems"]) == (0, [])
        assert told.json["state"]["streams"][0]["rows"] == 100
        table = gb("collect", "--status", "-c", tmp_path)
        assert (table.code, "BTC-USD" in table.out, "ok" in table.out) == (0, True, True)
        assert "one: process" in table.err
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert (
                'gb_collector_messages_total{collector="one",dataset="trades",source="feed",symbol="BTC-USD"} 100.0'
                in (answer.read().decode())
            )
        assert gb("health", "collector", "--json", "-c", tmp_path).json[0]["state"] == "ok"
        second = gb("collect", "-c", tmp_path)
        assert (second.code, "runs already, as process" in second.err) == (2, True)
        while_it_runs = gb("collect", "--flush", "-c", tmp_path)
        assert (while_it_runs.code, "commits by itself" in while_it_runs.err) == (0, True)
    finally:
        code, out, err = collector.end()
    assert (code, out) == (0, ""), err
    lines = err.splitlines()
    assert "one hears 1 subscription over 1 connection" in err
    assert any(" connected: connection plain-1" in line for line in lines)
    assert any(" flushed: " in line and "rows 100" in line for line in lines)
    assert "very-secret" not in err
    store = LakeStore.of_project(settings)
    assert measure_stored(store.tables)["rows"].to_list() == [100]
    assert read_watermarks(store.tables).height == 1
    after = gb("collect", "--status", "-c", tmp_path)
    assert (after.code, "collector one was stopped" in after.err) == (1, True)
    [health] = gb("health", "collector", "--json", "-c", tmp_path).json
    assert (health["state"], health["repair"]) == ("fail", "gb collect")


def test_it_ends_by_itself_once_it_has_heard_all_for_long_enough(settings: Settings, tmp_path: Path) -> None:
    collector = Process(tmp_path, "--for", "0.1")
    collector.process.communicate(timeout=120)
    assert collector.process.returncode == 0, collector.log.read_text(encoding="utf-8")
    said = collector.log.read_text(encoding="utf-8")
    assert said.index(" connected: ") < said.index(" stopped: collector one, committed True")
    assert read_watermarks(LakeStore.of_project(settings).tables).height == 1


def test_what_a_killed_one_left_is_committed_by_a_flush_once(
    gb: Gb, settings: Settings, server: PlainServer, tmp_path: Path
) -> None:
    collector = Process(tmp_path, "--json")
    wait_for(lambda: collector.said() and server.connected, "a connection")
    server.send(*map(trade, range(1, 51)))
    wait_for(
        lambda: collector.said() and (found := CollectorState.read(settings.spool)) and found.spool_rows >= 50,
        "fifty rows in the spool",
    )
    code, _, err = collector.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    happenings = [json.loads(line) for line in err.splitlines()]
    gone = gb("collect", "--status", "-c", str(tmp_path))
    assert gone.code == 1
    assert "gone" in gone.out
    assert " ok " not in gone.out
    assert {"started", "connected"} <= {item["event"] for item in happenings}
    assert all({"event", "level", "timestamp"} <= set(item) for item in happenings)
    plain_run = PROGRAM.replace(
        "sys.exit(run(sys.argv[1:]))", "sys.exit(run(['collect', '--flush', '--json', '-c', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", plain_run, str(tmp_path)], capture_output=True, text=True, check=True)
    assert sum(item["rows"] for item in json.loads(done.stdout)) == 50
    again = subprocess.run([sys.executable, "-c", plain_run, str(tmp_path)], capture_output=True, text=True, check=True)
    assert sum(item["rows"] for item in json.loads(again.stdout)) == 0
    assert measure_stored(LakeStore.of_project(settings).tables)["rows"].to_list() == [50]


def test_a_view_follows_a_running_collector(settings: Settings, server: PlainServer, tmp_path: Path) -> None:
    collector = Process(tmp_path, "--live")
    wait_for(lambda: collector.said() is not None and server.connected, "a connection")
    server.send(*map(trade, range(1, 8)))
    wait_for(lambda: (found := CollectorState.read(settings.spool)) and found.messages >= 7, "seven messages")
    time.sleep(1.2)  # a view looks twice a second
    code, out, err = collector.end(signal.SIGINT)
    assert code == 0, err
    assert "messages/s" in out
    assert "BTC-USD" in out
    assert "connected: connection plain-1" in out


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_view_has_each_stream_on_one_line_of_the_terminal(width: int) -> None:
    names = [("kraken", "BTC-USD"), ("coinbase_exchange", "BTC-USDT-PERP")]
    streams = [
        StreamState(
            source, dataset, symbol, "c-1", connected=dataset != "quotes", messages=1_234_567, messages_per_second=1234.5,
            lag_ms=12.3, last_message_time=10 * SECOND, gaps=3,
        )
        for source, symbol in names
        for dataset in ("trades", "book_updates", "quotes")
    ]  # fmt: skip
    state = CollectorState("one", 12_345, "1.0", 0, 11 * SECOND, tuple(streams))
    for shown in (state, replace(state, streams=tuple(streams[:3])), replace(state, streams=())):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(_view(shown, 12 * SECOND, [], width, is_gone=False))
        table = console.export_text().split("\n\n")[1].rstrip().split("\n")
        rows = table[1 : len(shown.streams) + 1]
        assert len(rows) == len(shown.streams)
        assert {tuple(row.split()[1:3]) for row in rows} == {(item.dataset, item.symbol) for item in shown.streams}
        assert table[0].split()[-1] in {"gaps", "gaps/million"}
        assert max(map(len, table)) <= width
        assert ("messages/s" in table[0]) == (width > 80 or "coinbase" not in str(rows))


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_a_check_says_what_would_be_heard_and_sends_nothing(gb: Gb, tmp_path: Path) -> None:
    symbols = ["BTC-USD", "ETH-USD", "SOL-USD"]
    write(
        tmp_path,
        {
            "kraken": {"venue": "kraken", "symbols": symbols, "datasets": ["trades", "book_updates"]},
            "coinbase": {"venue": "coinbase", "symbols": list(symbols)},
        },
    )
    told = gb("collect", "--check", "--json", "-c", tmp_path)
    assert told.code == 0, told.err
    streams = {item["stream"]: item for item in told.json}
    heard = [item for connection in streams["kraken"]["connections"] for item in connection["subscriptions"]]
    assert {(item["dataset"], item["symbol"]) for item in heard} == {
        (dataset, symbol) for dataset in ("trades", "book_updates") for symbol in symbols
    }
    table = gb("collect", "--check", "-c", tmp_path)
    assert "wss://ws.kraken.com/v2" in table.out
    assert "collector one" in table.err
    assert not (tmp_path / "data").exists()


def test_a_credential_that_is_missing_is_told_before_anything_is_heard(
    gb: Gb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    options = {"key": "${NOT_SET}", "secret": "very-secret"}
    write(tmp_path, {"alpaca": {"venue": "alpaca", "asset_class": "equity", "symbols": ["AAPL"], "options": options}})
    told = gb("collect", "--check", "-c", tmp_path)
    assert (told.code, "the credential key is not set" in told.err) == (1, True), told.err
    assert "very-secret" not in told.out + told.err


def test_doctor_looks_at_every_stream(gb: Gb, tmp_path: Path) -> None:
    good = {"venue": "kraken", "symbols": ["BTC-USD"], "datasets": ["trades", "book_updates"]}
    write(tmp_path, {"good": good, "bad": {"venue": "krakn", "symbols": ["BTC-USD"]}})
    told = gb("doctor", "--json", "-c", tmp_path)
    found = {item["check"]: item for item in told.json}
    assert found["stream good"]["verdict"] == "ok"
    assert found["stream good"]["detail"] == "2 subscriptions over 1 connection"
    assert (told.code, found["stream bad"]["verdict"], "kraken" in found["stream bad"]["fix"]) == (1, "fail", True)
    assert found["gb.yaml"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("streams", "arguments", "says"),
    [
        ({}, (), "names nothing to hear"),
        ({"a": {"venue": "krakn", "symbols": ["BTC-USD"]}}, ("--check",), "did you mean kraken"),
        ({"a": {"venue": "kraken", "symbols": ["AAPL"]}}, ("--check",), "AAPL"),
        ({"a": {"venue": "kraken", "symbols": ["BTC-USD"], "options": {"x": 1}}}, (), "does not know"),
        ({"a": {"venue": "kraken", "symbols": ["BTC-USD"]}}, ("--status", "--check"), "only one of"),
        ({"a": {"venue": "kraken", "symbols": ["BTC-USD"]}}, ("--status", "--for", "5"), "leave --for out"),
        ({"a": {"venue": "kraken", "symbols": ["BTC-USD"]}}, ("--flush", "--for", "0"), "leave --for out"),
    ],
)
def test_what_cannot_be_done_is_told(
    gb: Gb, tmp_path: Path, streams: dict[str, Any], arguments: tuple[str, ...], says: str
) -> None:
    write(tmp_path, streams)
    told = gb("collect", *arguments, "-c", tmp_path)
    assert (told.code, says in told.err) == (2, True), told.err
    assert not (tmp_path / "data").exists()


def test_without_the_extra_it_says_how_to_install_it(gb: Gb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"kraken": {"venue": "kraken", "symbols": ["BTC-USD"]}})
    monkeypatch.setitem(sys.modules, "picows", None)
    told = gb("collect", "-c", tmp_path)
    assert told.code == 2
    assert "uv pip install 'gb_pipeline[collect]'" in told.err
    assert gb("collect", "--status", "-c", tmp_path).code == 1


def test_a_status_says_what_is_wrong_with_which_stream(gb: Gb, tmp_path: Path) -> None:
    settings = write(tmp_path, {"kraken": {"venue": "kraken", "symbols": ["BTC-USD"]}})
    never = gb("collect", "--status", "-c", tmp_path)
    assert (never.code, "no collector ever ran here" in never.err) == (1, True)
    stream = StreamState("kraken", "trades", "BTC-USD", "kraken-1", messages=2_000_000, gaps=1)
    now = time.time_ns()
    state = CollectorState(
        "one", os.getpid(), "1.0", now - 10**12, now, (stream, replace(stream, symbol="ETH-USD", connected=True))
    )
    spool = Spool(settings.spool, SPOOLED)
    state.write(settings.spool)
    told = gb("collect", "--status", "-c", tmp_path)
    assert told.code == 1
    assert "not connected" in told.out
    assert "kraken trades BTC-USD is not connected" in told.err
    assert "0.5 gaps per million" in told.err
    # Nobody has it open any more: what it wrote last says nothing of now.
    spool.close()
    gone = gb("collect", "--status", "-c", tmp_path)
    assert ("gone" in gone.out, " ok " in gone.out, "is gone" in gone.err) == (True, False, True)
    replace(state, stopped=True).write(settings.spool)
    stopped = gb("collect", "--status", "-c", tmp_path)
    assert ("stopped" in stopped.out, " ok " in stopped.out) == (True, False)
