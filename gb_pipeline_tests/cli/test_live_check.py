"""`gb live-check`: one answer compared with what is promised, against simulated vendors; a test never reaches a real one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.conformance import Check, Conformity, check_bars, recent_session
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers import Provider, build_provider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

SHARES = {"calendar": "XNYS", "start": "2024-01-02", "symbols": ["AAPL"], "resolutions": ["1m", "1d"], "retries": 0}
COINS = {"asset_class": "crypto", "start": "2024-01-01", "resolutions": ["1m", "1d"], "retries": 0}
SOURCES: dict[str, dict[str, Any]] = {
    "binance": {"provider": "ccxt", "options": {}, "symbols": ["BTC-USDT"], **COINS},
    "kraken": {"provider": "ccxt", "options": {}, "symbols": ["BTC-USD"], **COINS, "resolutions": ["1d"]},
    "massive": {"provider": "massive", "options": {"key": "some-key"}, **SHARES},
    "alpaca": {"provider": "alpaca", "options": {"key": "some-key", "secret": "some-secret"}, **SHARES},
    "alpha_vantage": {"provider": "alpha_vantage", "options": {"key": "some-key"}, **SHARES, "resolutions": ["1d"]},
    "yahoo": {"provider": "yahoo", "options": {}, **SHARES, "adjustment": "split"},
}
DAY = "2024-06-11"
Seen = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def vendors() -> Iterator[Simulation]:
    with Simulation(symbols=["BTC-USDT", "BTC-USD"], stocks=["AAPL"]) as simulation:
        simulation.set_now("2024-06-20T12:00Z")
        yield simulation


@pytest.fixture
def check(gb: Gb, vendors: Simulation, tmp_path: Path) -> Iterator[Seen]:
    """`check("massive", "-r", "1d")`: what was seen by the name of the promise, and the exit code."""
    sources = {name: body | {"options": {**body["options"], "base_url": vendors.url}} for name, body in SOURCES.items()}
    (tmp_path / "gb.yaml").write_text(json.dumps({"sources": sources}), encoding="utf-8")

    def run(*arguments: str) -> dict[str, Any]:
        told = gb("live-check", "--json", "--day", DAY, "-c", tmp_path, *arguments)
        return {"exit": told.code, "err": told.err} | {item["check"]: item for item in told.json}

    yield run
    vendors.faults.clear()
    # The state of pace and quota is shared with everybody; nothing else may be there.
    assert {path.name for path in (tmp_path / "data").glob("*")} <= {"state"}


@pytest.mark.parametrize(
    ("source", "resolution"), [(name, length) for name, body in SOURCES.items() for length in body["resolutions"]]
)
def test_simulated_vendors_keep_every_promise(check: Seen, source: str, resolution: str) -> None:
    seen = check(source, "-r", resolution)
    assert seen["exit"] == 0, seen
    assert [name for name, item in seen.items() if isinstance(item, dict) and item["verdict"] == "broken"] == []
    assert seen["normalise"]["verdict"] == seen["stamps"]["verdict"] == seen["columns"]["verdict"] == "ok"
    assert "bars that calendar" in seen["calendar"]["seen"]
    if source in {"massive", "alpaca", "alpha_vantage"}:
        assert "AAPL is among them" in seen["instruments"]["seen"]
        assert seen["actions"]["verdict"] == "ok"


def test_a_symbol_that_gb_yaml_does_not_have_is_refused_before_anybody_is_asked(gb: Gb, tmp_path: Path) -> None:
    source = SOURCES["massive"] | {"options": {"key": "some-key", "base_url": "http://127.0.0.1:1"}}
    (tmp_path / "gb.yaml").write_text(json.dumps({"sources": {"massive": source}}), encoding="utf-8")
    told = gb("live-check", "massive", "AAPLL", "-c", tmp_path, "--day", DAY)
    assert told.code == 2
    assert "AAPL" in told.err.split("->")[-1]


def test_bars_alone_can_be_asked_for(check: Seen) -> None:
    assert "instruments" not in check("massive", "--bars-only")


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ({"status": 401, "body": '{"status":"ERROR","error":"Unknown API Key some-key"}'}, 1, "Unknown API Key ***"),
        ({"status": 503, "body": "busy"}, 3, "HTTP 503"),
        ({"action": "reset"}, 3, "broke off"),
    ],
)
def test_refusals_end_it_as_they_end_a_fetch(
    check: Seen, vendors: Simulation, fault: dict[str, Any], code: int, says: str
) -> None:
    vendors.faults.add(match="aggs", times=-1, **fault)
    seen = check("massive")
    assert seen["exit"] == code
    assert says in seen["err"]


def test_real_vendors_are_not_asked_from_a_test(gb: Gb, tmp_path: Path) -> None:
    for options, says in (
        ({}, "GB_LOOPBACK_ONLY is set"),
        ({"base_url": ""}, "GB_LOOPBACK_ONLY is set"),
        ({"base_url": "https://api.massive.com"}, "not a simulated vendor"),
    ):
        source = SOURCES["massive"] | {"options": {"key": "some-key", **options}}
        (tmp_path / "gb.yaml").write_text(json.dumps({"sources": {"massive": source}}), encoding="utf-8")
        told = gb("live-check", "massive", "-c", tmp_path)
        assert told.code == 2
        assert says in told.err


def test_a_missing_key_and_a_day_without_trading_are_said(gb: Gb, tmp_path: Path, vendors: Simulation) -> None:
    source = SOURCES["massive"] | {"options": {"base_url": vendors.url}}
    (tmp_path / "gb.yaml").write_text(json.dumps({"sources": {"massive": source}}), encoding="utf-8")
    told = gb("live-check", "massive", "-c", tmp_path, "--day", "2024-06-16")
    assert (told.code, "not a session of XNYS" in told.err) == (2, True)
    told = gb("live-check", "massive", "-c", tmp_path, "--day", DAY)
    assert (told.code, "'key' is missing" in told.err) == (2, True)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        ("2024-06-11T20:14:00Z", date(2024, 6, 10)),
        ("2024-06-11T20:16:00Z", date(2024, 6, 11)),
        ("2024-06-16T12:00:00Z", date(2024, 6, 14)),
        ("2024-07-05T03:00:00Z", date(2024, 7, 3)),
    ],
)
def test_the_newest_session_is_one_that_is_over(now: str, session: date) -> None:
    source = SourceSettings.model_validate({"name": "s", **SOURCES["massive"]})
    assert recent_session(source, datetime.fromisoformat(now).astimezone(UTC)) == session


async def broken(vendors: Simulation, change: Callable[[pl.DataFrame], pl.DataFrame]) -> dict[str, Check]:
    """What is seen of a provider whose frames are changed on their way, but not when they are read again."""
    options = {"base_url": vendors.url, "key": "some-key"}
    body = {"name": "massive", **SOURCES["massive"], "options": options, "keep_raw": True}
    source = SourceSettings.model_validate(body)
    inner = build_provider(source)

    class Changed:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def fetch_bars(self, *arguments: Any) -> Any:
            fetched = await inner.fetch_bars(*arguments)
            return type(fetched)(change(fetched.frame), "", 0, fetched.calls, 0.0, fetched.bodies)

    provider: Provider = Changed()
    checks = await check_bars(provider, source, Symbol.equity("AAPL"), Resolution.MINUTE, date.fromisoformat(DAY))
    await inner.aclose()
    return {item.name: item for item in checks}


@pytest.mark.parametrize(
    ("change", "promise", "verdict"),
    [
        (lambda f: f.drop("volume"), "columns", Conformity.BROKEN),
        (lambda f: f.with_columns(pl.col("open").cast(pl.Float64)), "columns", Conformity.BROKEN),
        (lambda f: f.with_columns(extra=pl.lit(1)), "columns", Conformity.BROKEN),
        (lambda f: f.with_columns(pl.col("timestamp").dt.offset_by("-5h")), "quality", Conformity.BROKEN),
        (lambda f: f.with_columns(pl.col("timestamp").dt.offset_by("-20h")), "stamps", Conformity.BROKEN),
        (lambda f: f.with_columns(pl.col("timestamp").dt.offset_by("30s")), "quality", Conformity.BROKEN),
        (lambda f: f.with_columns(high=pl.lit("0.01")), "quality", Conformity.BROKEN),
        (lambda f: f.head(100), "normalise", Conformity.BROKEN),
        (lambda f: f.head(100), "calendar", Conformity.LOOK),
        (lambda f: f.clear(), "answer", Conformity.LOOK),
        (lambda f: pl.concat([f, f.tail(3)]), "duplicates", Conformity.LOOK),
        (lambda f: f.with_columns(pl.col("open") + "0000000000001"), "digits", Conformity.LOOK),
        (lambda f: f.with_columns(volume=pl.lit("0")), "volume", Conformity.LOOK),
        (lambda f: f.with_columns(volume=pl.lit("1.5")), "volume", Conformity.OK),
    ],
)
async def test_a_broken_promise_is_seen(vendors: Simulation, change: Any, promise: str, verdict: Conformity) -> None:
    assert (await broken(vendors, change))[promise].verdict is verdict
