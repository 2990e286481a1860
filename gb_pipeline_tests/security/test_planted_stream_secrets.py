"""Secrets are planted as keys of streams, venues repeat them in everything that they say: afterwards they are nowhere.

`gb collect` runs in a process of its own, with JSON logs, over the simulated websockets; what it stored, logged and left on disk is
searched.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.security.leaks import leaks

RSA = base64.b64encode(
    rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
).decode()
# From the environment, from `.env`, and written out.
SECRETS = {
    "massive": "PLANTED+massive/8kQz-Zx71uA=",
    "alpaca": 'PLANTED~alpaca"9rTwYv62sB',
    "alpaca_secret": "PLANTED*hush&3nHc%Ud48oE",
    "kalshi": "PLANTED-kalshi-77fa0c2e",
    # A piece from the middle is as bad as the whole.
    "rsa": RSA[400:460],
}
VENUES = ("massive", "alpaca", "kalshi")
CONTRACT = "KXBTCD-24JUN2013-T1999.99"


@dataclass
class Played:
    """What was left when everything had happened."""

    folder: Path
    said: str
    commands: str
    events: pl.DataFrame


def project(folder: Path, url: str) -> dict[str, str]:
    streams = {
        "massive": {"venue": "massive", "asset_class": "equity", "symbols": ["AAPL"], "datasets": ["trades", "quotes"],
                    "options": {"key": "${GB_TEST_MASSIVE}", "base_url": url}},
        "alpaca": {"venue": "alpaca", "asset_class": "equity", "symbols": ["KO"], "datasets": ["trades"],
                   "options": {"key": "${GB_TEST_ALPACA}", "secret": SECRETS["alpaca_secret"], "base_url": url}},
        "kalshi": {"venue": "kalshi", "asset_class": "prediction", "symbols": [CONTRACT], "datasets": ["trades", "book_updates"],
                   "options": {"key": SECRETS["kalshi"], "private_key": "${GB_TEST_RSA}", "base_url": url}},
    }  # fmt: skip
    collect = {"collector": "planted", "fsync_seconds": 0.1, "flush": {"every": "1s"}, "streams": streams}
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "collect": collect}), encoding="utf-8")
    escaped = SECRETS["alpaca"].replace('"', '\\"')
    (folder / ".env").write_text(f'GB_TEST_ALPACA="{escaped}"\n', encoding="utf-8")
    (folder / ".env").chmod(0o600)
    gone = {"GB_TEST_ALPACA", "GB_CONFIG", "GB_LAKE"}
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    return kept | {"GB_TEST_MASSIVE": SECRETS["massive"], "GB_TEST_RSA": RSA, "PYTHONASYNCIODEBUG": "1"}


def wait_for(holds: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)


def repeat_the_keys(sim: Simulation) -> None:
    """Every way in which a venue can: refused logins, errors, messages that cannot be read, corrections, handshakes, closings."""
    massive, alpaca, hush, kalshi = (SECRETS[name] for name in ("massive", "alpaca", "alpaca_secret", "kalshi"))
    add = sim.streams.faults.add
    refusals = [
        ("massive.*auth_success", [{"ev": "status", "status": "auth_timeout", "message": f"no answer from {massive}"}]),
        (
            "massive.*auth_success",
            [{"ev": "status", "status": "max_connections", "message": f"{massive} is connected"}],
        ),
        ("alpaca.*authenticated", [{"T": "error", "code": 404, "msg": f"auth timeout of {alpaca} with {hush}"}]),
        ("alpaca.*authenticated", [{"T": "success", "msg": f"hello {alpaca}"}]),
    ]
    for match, body in refusals:
        add(match=match, action="replace", body=json.dumps(body))
    sim.faults.add(match="trade-api/ws", status=401, body=json.dumps({"error": f"{kalshi} is not known"}))
    sim.faults.add(match="trade-api/ws", status=503, body=f"<html>{kalshi}</html>", headers={"X-Key": kalshi})


def say_the_keys(sim: Simulation) -> None:
    massive, alpaca, hush, kalshi = (SECRETS[name] for name in ("massive", "alpaca", "alpaca_secret", "kalshi"))
    for match, bodies in {
        "massive": [
            json.dumps([{"ev": "T", "sym": "AAPL", "echo": massive}]), f"<html>{massive}</html>",
            json.dumps([{"ev": "status", "status": "error", "message": f"T.AAPL is not for {massive}"}]),
            json.dumps([{"ev": "status", "status": "slow_consumer", "message": f"{massive} is slow"}]),
        ],
        "alpaca": [
            json.dumps([{"T": "c", "S": "KO", "oi": 1, "echo": hush}]), json.dumps([{"T": "t", "S": "KO", "echo": hush}]),
            json.dumps([{"T": "error", "code": 407, "msg": f"slow {alpaca}"}]), f"<html>{alpaca}",
        ],
        "kalshi": [
            json.dumps({"type": "error", "id": 1, "msg": {"code": 9, "msg": f"{kalshi} may not"}}),
            json.dumps({"type": "trade", "msg": {"echo": kalshi}}), f"<html>{kalshi}</html>",
            json.dumps({"type": "market_lifecycle_v2", "msg": {"market_ticker": CONTRACT, "event_type": kalshi}}),
        ],
    }.items():  # fmt: skip
        for body in bodies:
            assert sim.streams.say(body, match), match


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("planted")
    with Simulation(symbols=["BTC-USD"], stocks=["AAPL", "KO"]) as sim:
        sim.set_now("2024-06-20T12:00:00Z")
        environment = project(folder, sim.url)
        repeat_the_keys(sim)
        running = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", "gb_pipeline.cli", "collect", "--json"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            for logins in (1, 2):
                # Each login is answered with the key; then the connection is closed with it as the reason.
                for venue in ("massive", "alpaca"):
                    wait_for(
                        lambda venue=venue, logins=logins: _sent(sim, venue, '"auth"') == logins,
                        f"login {logins} to {venue}",
                    )  # type: ignore[misc]
                    assert sim.streams.close(f"{SECRETS[venue]} is closed", venue) == 1
            wait_for(lambda: all(_sent(sim, venue, '"subscribe"') for venue in VENUES), "subscriptions of all three")
            commands = Path(f"/proc/{running.pid}/cmdline").read_text(encoding="utf-8")
            sim.set_now("2024-06-20T12:00:20Z")
            say_the_keys(sim)
            wait_for((folder / "data" / "lake" / "trades").exists, "a flush")
        finally:
            running.send_signal(signal.SIGTERM)
            said, _ = running.communicate(timeout=60)
        assert running.returncode == 0, said[-3000:]
    yield Played(folder, said, commands, pl.read_delta(str(folder / "data" / "lake" / "connection_events")))


def _sent(sim: Simulation, venue: str, what: str) -> int:
    """How often a venue was sent something."""
    return sum(venue in path and what in message for path, message in list(sim.streams.received))


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_left_anywhere(played: Played, name: str) -> None:
    own = [played.folder / "gb.yaml", played.folder / ".env"]
    assert leaks(SECRETS[name], played.folder, apart_from=own) == []


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_said(played: Played, name: str, tmp_path: Path) -> None:
    (tmp_path / "said").write_text(f"{played.said}{played.commands}{played.events.to_dicts()}", encoding="utf-8")
    assert leaks(SECRETS[name], tmp_path) == []


def test_the_venues_did_repeat_them_and_it_was_told_without(played: Played) -> None:
    events = played.events
    assert set(events["source"]) == {"massive", "alpaca", "kalshi"}
    for source in ("massive", "alpaca", "kalshi"):
        own = events.filter(pl.col("source") == source)
        hidden = own.filter(pl.col("detail").str.contains("***", literal=True))
        assert {"refused", "unreadable"} <= set(own["kind"]), source
        assert hidden.height >= 3, own.select("kind", "detail").rows()
    assert {"correction", "slow_consumer"} <= set(events["kind"])
    assert "HTTP 401" in played.said
    assert "private key" in played.said, "what to do about it"
