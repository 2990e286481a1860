"""FIGIs from OpenFIGI: asked once, in batches, stored where they are unambiguous, and never of a ticker's owner of today."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, NotEntitled, RateLimited
from gb_pipeline.ingest.figi import look_up_figis
from gb_pipeline.lake import instruments
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock, at

CODES = [f"S{number}" for number in range(24)]
QUICK = Policy(timeout=60, retries=1, shortest_wait=0.001, longest_wait=0.002)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=["BTC-USD"], stocks=["META", "BRK.B", *CODES]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now("2024-06-14T22:00Z")
    return running


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=SetClock(at("2024-06-14T22:00")))


def tell(store: LakeStore, codes: list[str], **columns: object) -> None:
    frame = pl.DataFrame({"symbol": codes}).with_columns(pl.lit(value).alias(name) for name, value in columns.items())
    store.write_instruments(frame, source="mine")


def posts(sim: Simulation) -> int:
    """How many requests there were."""
    return sum(item["path"].endswith("/v3/mapping") for item in sim.requests)


def figi(sim: Simulation, code: str, kind: str = "composite") -> str:
    listing = sim.stocks.listing(code)
    assert listing is not None
    return listing.figi(kind)


def test_what_is_found_is_stored_and_never_asked_again(sim: Simulation, store: LakeStore) -> None:
    tell(store, ["META", "BRK.B"], currency="USD")
    ids = instruments.read(store.tables)["instrument"].to_list()
    outcome = look_up_figis(store, base_url=sim.url)
    assert (outcome.wanted, outcome.asked, len(outcome.found), outcome.error) == (2, 1 + 1, 2, None)
    rows = instruments.read(store.tables)
    assert rows["instrument"].to_list() == ids
    assert rows.select("symbol", "composite_figi", "share_class_figi").rows() == [
        (code, figi(sim, code), figi(sim, code, "share class")) for code in ("BRK.B", "META")
    ]
    tell(store, ["NOBODY"], currency="USD")
    assert look_up_figis(store, base_url=sim.url).unknown == ("NOBODY",)
    sim.requests.clear()
    assert look_up_figis(store, base_url=sim.url).asked == 0
    assert not posts(sim)
    assert look_up_figis(store, base_url=sim.url, again=True).asked == 1


@pytest.mark.parametrize(("key", "batches"), [("", 3), ("a-key", 1)])
def test_questions_are_asked_many_at_a_time(sim: Simulation, store: LakeStore, key: str, batches: int) -> None:
    tell(store, CODES, currency="USD")
    sim.requests.clear()
    assert len(look_up_figis(store, key=key, base_url=sim.url).found) == 24
    assert posts(sim) == batches


def test_a_name_of_several_instruments_is_not_guessed(sim: Simulation, store: LakeStore) -> None:
    tell(store, ["META"])
    outcome = look_up_figis(store, base_url=sim.url)
    assert (dict(outcome.found), list(outcome.ambiguous)) == ({}, ["META"])
    assert [choice.partition(" ")[2] for choice in outcome.ambiguous["META"]].count("(META AG)") == 1
    assert instruments.read(store.tables)["composite_figi"].to_list() == [None]


def test_an_old_ticker_is_not_asked_about_but_an_isin_is(sim: Simulation, store: LakeStore) -> None:
    gone = {"valid_from": "2010-01-04", "valid_until": "2015-01-05", "currency": "USD"}
    tell(store, ["S1"], **gone)
    assert look_up_figis(store, base_url=sim.url).wanted == 0
    listing = sim.stocks.listing("S2")
    assert listing is not None
    tell(store, ["S3"], isin=listing.isin, **gone)
    assert list(look_up_figis(store, base_url=sim.url).found.values()) == [figi(sim, "S2")]


def test_a_figi_of_another_instrument_is_said_and_not_stored(sim: Simulation, store: LakeStore) -> None:
    known = pl.DataFrame({"symbol": ["S5"], "composite_figi": [figi(sim, "S5")]})
    owner = store.write_instruments(known, source="theirs").instruments[0]
    tell(store, ["S5"], currency="USD", vendor_id="x", name="listed twice")
    outcome = look_up_figis(store, base_url=sim.url)
    assert dict(outcome.shared) == {"S5": f"{figi(sim, 'S5')} of {owner}"}
    assert instruments.read(store.tables, "mine")["composite_figi"].to_list() == [None]


def test_what_was_answered_before_trouble_is_kept(sim: Simulation, store: LakeStore) -> None:
    tell(store, CODES, currency="USD")
    sim.faults.add(match="openfigi", status=429, times=-1, skip=1, headers={"ratelimit-reset": "0"})
    outcome = look_up_figis(store, base_url=sim.url, policy=QUICK)
    assert isinstance(outcome.error, RateLimited)
    assert (outcome.asked, len(outcome.found)) == (10, 10)
    sim.faults.clear()
    sim.requests.clear()
    assert len(look_up_figis(store, base_url=sim.url).found) == 14
    assert posts(sim) == 2


def test_cut_off_before_it_is_stored_nothing_is_asked_twice(
    sim: Simulation, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(store, ["S1"], currency="USD")

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LakeStore, "write_instruments", cut_off)
        with pytest.raises(KeyboardInterrupt):
            look_up_figis(store, base_url=sim.url)
    assert instruments.read(store.tables)["composite_figi"].to_list() == [None]
    outcome = look_up_figis(store, base_url=sim.url)
    assert (outcome.asked, list(outcome.found.values())) == (0, [figi(sim, "S1")])


def test_a_key_that_is_refused_is_said_without_it(sim: Simulation, store: LakeStore) -> None:
    tell(store, ["S1"], currency="USD")
    outcome = look_up_figis(store, key="unknown-secret", base_url=sim.url)
    assert isinstance(outcome.error, NotEntitled)
    assert "unknown-secret" not in str(outcome.error)
    with pytest.raises(ConfigError, match="not a simulated vendor"):
        look_up_figis(store, base_url="http://example.com")
