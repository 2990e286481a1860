"""After healing, what is stored is what the venue traded: nothing twice, however often, and wherever it is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors import healing
from gb_pipeline.collectors.healing import heal_trades
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, WATERMARKS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline_tests.collectors import plain
from gb_pipeline_tests.collectors.test_collector import SYMBOL, Running, trade, wait_for

TRADES = stream_dataset("trades")
NOW = 1_700_000_000_000_000_000
SECOND = 10**9


class Lake:
    """A project whose lake has some of the venue's trades, and what a collector says of them."""

    def __init__(self, folder: Path) -> None:
        plain.register()
        stream = {"venue": "plain", "symbols": [SYMBOL], "options": {"url": "ws://127.0.0.1:1/"}}
        document = {"lake": "data", "sources": {}, "collect": {"collector": "one", "streams": {"feed": stream}}}
        (folder / "gb.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.settings = Settings.load(folder)
        self.store = LakeStore.of_project(self.settings)

    def add(self, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
        schema = polars_schema(dataset.columns)
        append(self.store.tables[dataset.name], pl.DataFrame(rows, schema=schema, orient="row"), clock=self.store.clock)

    def read(self, dataset: Dataset) -> pl.DataFrame:
        return reading.read(self.store.tables.storage, dataset, self.store.tables.newest(dataset.name).files)

    def heal(self, *, now: int = NOW + 3_600 * SECOND, again: bool = False) -> list[healing.Healed]:
        return heal_trades(self.settings, now=now, store=self.store, again=again)

    def contents(self) -> list[tuple[str | None, int, str]]:
        frame = self.read(TRADES).select("trade_id", "exchange_time", pl.col("price").cast(pl.String()))
        return sorted(frame.rows(), key=repr)


def row(number: int | None, moment: int, price: str) -> dict[str, Any]:
    from decimal import Decimal

    return {
        "source": "feed", "symbol": SYMBOL, "timestamp": from_microseconds(moment // 1000), "exchange_time": moment,
        "receive_time": moment + 5, "side": "buy", "price": Decimal(price), "size": Decimal("0.25"),
        "trade_id": None if number is None else str(number), "sequence": None, "ordinal": 0, "collector": "one",
        "origin": "stream",
    }  # fmt: skip


def covered(start: int, end: int) -> dict[str, Any]:
    return {
        "source": "feed", "symbol": SYMBOL, "dataset": "trades", "timestamp": from_microseconds(start // 1000),
        "start_time": start, "end_time": end, "kind": "covered", "reason": None, "collector": "one", "messages": 0, "rows": 0,
        "missing": None, "first_sequence": None, "last_sequence": None,
    }  # fmt: skip


@pytest.fixture
def _served() -> Iterator[None]:
    yield
    plain.Plain.past = None


@pytest.mark.usefixtures("_served")
@given(data=st.data())
def test_what_is_stored_afterwards_is_what_the_venue_traded(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    # Several trades of one moment are usual, and some venues' have no id.
    offsets = sorted(data.draw(st.lists(st.integers(0, 12).map(lambda item: item * SECOND), min_size=1, max_size=12)))
    with_ids = data.draw(st.booleans())
    prices = st.sampled_from(["1.5", "2"])
    past = [(index if with_ids else None, NOW + at, data.draw(prices)) for index, at in enumerate(offsets)]
    edges = sorted(data.draw(st.sets(st.integers(1, 12), min_size=2, max_size=4)))
    holes = [(NOW + a * SECOND, NOW + b * SECOND) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    inside = [any(a <= at < b for a, b in holes) for _, at, _ in past]
    kept = [item for item, is_lost in zip(past, inside, strict=True) if not is_lost or data.draw(st.booleans())]
    bounds = [NOW - SECOND, *(edge for hole in holes for edge in hole), NOW + 20 * SECOND]
    if kept:
        lake.add(TRADES, [row(*item) for item in kept])
    lake.add(STREAM_INTERVALS, [covered(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True)])
    mark = {"source": "feed", "dataset": "trades", "collector": "one", "segment": 1, "rows": len(kept)}
    lake.add(WATERMARKS, [mark | {"timestamp": from_microseconds(bounds[-1] // 1000), "through_time": bounds[-1]}])
    plain.Plain.past = past

    if data.draw(st.booleans(), label="killed between rows and interval"):
        write = healing.append

        def die(table: Any, *arguments: Any, **more: Any) -> Any:
            if table is lake.store.tables[STREAM_INTERVALS.name]:
                raise KeyboardInterrupt
            return write(table, *arguments, **more)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(healing, "append", die)
            lake.heal()
    healed = lake.heal()

    assert [item.error for item in healed] == [None] * len(holes)
    expected = sorted(
        ((None if number is None else str(number), at, f"{float(price):.8f}") for number, at, price in past), key=repr
    )
    assert lake.contents() == expected
    assert covered_stretches(lake.read(STREAM_INTERVALS)).select("start_time", "end_time").rows() == [
        (bounds[0], bounds[-1])
    ]
    assert lake.heal() == []
    assert lake.contents() == expected


@pytest.mark.usefixtures("_served")
def count_flushes(running: Running) -> int:
    return sum(name == "flushed" for name, _ in running.events)


def test_a_collector_heals_its_own_holes_while_it_goes_on_hearing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After each flush, not once a while.
    monkeypatch.setattr("gb_pipeline.collectors.collector._HEAL_SECONDS", 0)
    with plain.PlainServer() as server:
        running = Running(tmp_path / "p", server, stream={"datasets": ["trades"]}, flush={"every": "1s"})
        wait_for(lambda: server.connected, "connection")
        # What comes at the moment of a subscription may lie before it: a whole turn later it is heard for certain.
        until = count_flushes(running) + 2
        wait_for(lambda: count_flushes(running) >= until, "flushes")
        # Traded before they are heard, or what is settled would end before the hole.
        times = {number: time.time_ns() - (7 - number) * 1_000_000 for number in range(1, 7)}
        plain.Plain.past = [(number, at, "100.5") for number, at in times.items()]
        server.send(*(trade(number, at=times[number]) for number in (1, 2, 5, 6)))
        wait_for(lambda: [facts for name, facts in running.events if name == "healed"], "healing")
        server.send(trade(7))
        running.stop()
    stored = running.read(TRADES).select("trade_id", "origin").sort("trade_id").rows()
    assert stored == [
        ("1", "stream"), ("2", "stream"), ("3", "rest"), ("4", "rest"), ("5", "stream"), ("6", "stream"), ("7", "stream"),
    ]  # fmt: skip


def test_a_collector_that_is_not_to_heal_leaves_holes_alone(tmp_path: Path) -> None:
    with plain.PlainServer() as server:
        running = Running(tmp_path / "p", server, heal=False, stream={"datasets": ["trades"]}, flush={"every": "1s"})
        wait_for(lambda: server.connected, "connection")
        server.send(trade(1), trade(5))
        wait_for(lambda: [name for name, _ in running.events if name == "flushed"], "flush")
        running.stop()
    assert not {name for name, _ in running.events} & {"healed", "not_healed", "healing_failed"}


@pytest.mark.usefixtures("_served")
def test_what_a_venue_never_serves_is_remembered_with_its_reason_and_asked_for_by_hand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path)
    lake.add(STREAM_INTERVALS, [covered(NOW, NOW + 5 * SECOND), covered(NOW + 9 * SECOND, NOW + 20 * SECOND)])
    mark = {"source": "feed", "dataset": "trades", "collector": "one", "segment": 1, "rows": 0}
    end = NOW + 20 * SECOND
    lake.add(WATERMARKS, [mark | {"timestamp": from_microseconds(end // 1000), "through_time": end}])

    async def away(*_: object) -> None:
        raise TransientVendorError("the venue is away")

    with monkeypatch.context() as patch:
        patch.setattr(plain.Plain, "fetch_trades", away)
        assert [(hole.error, hole.permanent) for hole in lake.heal() + lake.heal()] == [
            ("the venue is away", False)
        ] * 2
    plain.Plain.past = None
    [refused] = lake.heal()
    assert (refused.error, refused.permanent) == ("venue plain serves no trades of the past", True)
    [event] = lake.read(CONNECTION_EVENTS).iter_rows(named=True)
    assert (event["kind"], event["symbol"], event["collector"]) == ("not_healed", SYMBOL, "rest")
    assert json.loads(event["detail"])["error"] == refused.error
    assert lake.heal() == []
    # Another hole is asked for, and by hand those that were refused as well.
    lake.add(STREAM_INTERVALS, [covered(NOW + 15 * SECOND, NOW + 16 * SECOND) | {"kind": "gap", "reason": "sequence"}])
    assert [hole.start_time for hole in lake.heal()] == [NOW + 15 * SECOND]
    plain.Plain.past = [(1, NOW + 6 * SECOND, "2"), (2, NOW + 15 * SECOND, "3")]
    assert lake.heal() == []
    assert [hole.stored for hole in lake.heal(again=True)] == [1, 1]
    assert covered_stretches(lake.read(STREAM_INTERVALS)).height == 1


@pytest.mark.usefixtures("_served")
def test_ids_that_begin_anew_every_day_are_other_trades(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    midnight = 1_700_006_400 * SECOND
    moments = {"before": midnight - 60 * SECOND, "after": midnight + 60 * SECOND}
    hour = 3_600 * SECOND
    # Ids 1 and 2 of the day before, and of this day 1, which was heard.
    heard = [(1, midnight - 20 * hour, "1.5"), (2, midnight - 19 * hour, "1.5"), (1, moments["after"], "1.5")]
    lake.add(TRADES, [row(*item) for item in heard])
    hole = midnight - 30 * hour, midnight + hour
    lake.add(STREAM_INTERVALS, [covered(hole[0] - SECOND, hole[0]), covered(hole[1], hole[1] + SECOND)])
    mark = {"source": "feed", "dataset": "trades", "collector": "one", "segment": 1, "rows": 0}
    end = hole[1] + SECOND
    lake.add(WATERMARKS, [mark | {"timestamp": from_microseconds(end // 1000), "through_time": end}])
    plain.Plain.past = [*heard, (2, moments["after"] + SECOND, "1.5"), (9, moments["before"], "1.5")]
    [healed] = lake.heal(now=end)
    assert (healed.received, healed.stored) == (5, 2)
    assert len(lake.contents()) == 5
