"""Whatever a venue, a network and a clock do: nothing that is missing lies in a stretch that is called covered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors import Connection, MessageRows, Signal, Subscription, TimeUnit
from gb_pipeline.collectors.columns import to_columns
from gb_pipeline.collectors.evidence import Evidence
from gb_pipeline.market.stream_coverage import covered_stretches, find_holes
from gb_pipeline.market.tick_schema import ConnectionEventKind
from gb_pipeline_tests.collectors import plain

SYMBOLS = ["BTC-USD", "ETH-USD"]
BEGIN = 1_700_000_000_000_000_000
MILLISECOND = 1_000_000
STALLED_AFTER = 3_600 * 10**9


@dataclass
class World:
    """A venue with numbered trades, a connection that may break, and evidence that is told now and then."""

    skew: int
    now: int = BEGIN
    sent: list[tuple[str, int, int]] = field(default_factory=list)
    knowable: list[tuple[str, int, int]] = field(default_factory=list)
    heard: int = 0
    rounds: list[pl.DataFrame] = field(default_factory=list)
    events: list[pl.DataFrame] = field(default_factory=list)
    stored: set[tuple[str, int]] = field(default_factory=set)
    open: bool = False

    def __post_init__(self) -> None:
        self.connection = Connection("plain-1", "", tuple(Subscription(plain.TRADES, name, name) for name in SYMBOLS))
        self.evidence = Evidence("feed", self.connection, "one", stalled_after=STALLED_AFTER)
        self.rows = MessageRows()
        self.numbers = dict.fromkeys(SYMBOLS, 0)
        self.lost: dict[str, list[tuple[str, int, int]]] = {name: [] for name in SYMBOLS}
        self.connected: set[str] = set()
        self.numbered: set[str] = set()

    def pass_time(self, step: int) -> None:
        self.now += step

    def trade(self, symbol: str, lag: int, fate: str) -> None:
        """One trade at the venue, `lag` before it is heard, if it is."""
        self.numbers[symbol] += 1
        message = (symbol, self.numbers[symbol], self.now + self.skew)
        self.sent.append(message)
        if not self.open:
            if symbol in self.connected:
                self.knowable.append(message)
            return
        self.now += lag
        if fate == "lost":
            self.lost[symbol].append(message)
            return
        text = {"e": "trade", "s": symbol, "n": message[1], "t": message[2], "p": "1.5", "q": "2"}
        if fate == "garbage":
            self.hear(b"{garbage")
            self.knowable.append(message)
            return
        for _ in range(2 if fate == "twice" else 1):
            self.hear(json.dumps(text).encode())
        self.heard += 1
        self.stored.add(message[:2])
        # What was lost before the first number of a connection, no number tells.
        if symbol in self.numbered:
            self.knowable += self.lost[symbol]
        self.numbered.add(symbol)
        self.lost[symbol].clear()

    def hear(self, data: bytes) -> None:
        self.now += 1
        self.decoder.decode(data, self.now, self.rows)
        self.rows.last_receive = self.now

    def connect(self) -> None:
        if not self.open:
            self.now += 1
            self.rows.signals.append(Signal(ConnectionEventKind.CONNECTED, self.now))
            self.decoder = plain.Plain("", None).decoder(self.connection)
            self.open = True
            self.numbered.clear()
            for symbol in SYMBOLS:
                self.hear(json.dumps({"e": "subscribed", "s": symbol}).encode())
                self.connected.add(symbol)

    def disconnect(self) -> None:
        if self.open:
            self.now += 1
            self.rows.signals.append(Signal(ConnectionEventKind.DISCONNECTED, self.now))
            self.open = False
            # What was lost last, nothing that came later tells of.
            for lost in self.lost.values():
                lost.clear()

    def tell(self) -> None:
        rows, self.rows = self.rows, MessageRows()
        columns = to_columns(rows, "feed", TimeUnit.NANOSECONDS, "one")
        told = self.evidence.tell(rows, columns, self.now + 1)
        self.rounds.append(told.intervals)
        self.events.append(told.events)

    @property
    def intervals(self) -> pl.DataFrame:
        return pl.concat(self.rounds)


def step(world: World, data: st.DataObject, *, fates: list[str], lags: st.SearchStrategy[int]) -> None:
    act = data.draw(st.sampled_from(["trade"] * 8 + ["tell", "tell", "disconnect", "connect"]), label="act")
    # Often nothing passes: trades of one moment are usual.
    world.pass_time(data.draw(st.sampled_from([0, 0, 1, 900, 5 * MILLISECOND, 10**9]), label="pause"))
    if act == "trade":
        symbol, fate = (
            data.draw(st.sampled_from(SYMBOLS), label="symbol"),
            data.draw(st.sampled_from(fates), label="fate"),
        )
        world.trade(symbol, data.draw(lags, label="lag"), fate)
    else:
        {"tell": world.tell, "disconnect": world.disconnect, "connect": world.connect}[act]()


def lie(world: World) -> list[tuple[str, int, int]]:
    """What is missing, and lies where nothing is."""
    covered = covered_stretches(world.intervals)
    found = []
    for symbol, number, moment in world.knowable:
        if (symbol, number) in world.stored:
            continue
        inside = covered.filter(
            (pl.col("symbol") == symbol) & (pl.col("start_time") <= moment) & (pl.col("end_time") > moment)
        )
        if inside.height:
            found.append((symbol, number, moment))
    return found


@pytest.mark.parametrize(
    ("skews", "fates"),
    [
        (st.just(0), ["good", "good", "lost", "twice", "garbage"]),
        (st.integers(-2 * 10**9, 2 * 10**9), ["good", "good", "lost", "twice"]),
    ],
    ids=["unreadable", "skew"],
)
@given(data=st.data())
def test_nothing_that_is_missing_lies_where_it_is_called_covered(
    skews: st.SearchStrategy[int], fates: list[str], data: st.DataObject
) -> None:
    world = World(data.draw(skews, label="skew"))
    world.connect()
    lags = st.integers(0, 200 * MILLISECOND)
    for _ in range(data.draw(st.integers(1, 15), label="steps")):
        step(world, data, fates=fates, lags=lags)
    world.connect()
    for symbol in SYMBOLS:
        world.pass_time(MILLISECOND)
        world.trade(symbol, 0, "good")
    world.tell()

    assert lie(world) == []
    rows = world.intervals
    # What was heard is counted in an interval, or waits for the next one.
    streams = world.evidence.streams.values()
    assert sum(item.messages for item in streams) == world.heard == sum(item.rows for item in streams)
    counted = rows.filter(pl.col("kind") == "covered").select(pl.col("messages", "rows").sum()).row(0)
    assert counted == (
        world.heard - sum(item.untold_messages for item in streams),
        world.heard - sum(item.untold_rows for item in streams),
    )
    # Every gap has its reason, and lost numbers are said.
    assert rows.filter((pl.col("kind") == "gap") & pl.col("reason").is_null()).is_empty()
    assert (rows["start_time"] < rows["end_time"]).all()


@given(data=st.data())
def test_a_stream_that_loses_nothing_is_covered_wherever_its_rounds_are_cut(data: st.DataObject) -> None:
    world = World(0)
    world.connect()
    begin = world.now + 1_000
    for _ in range(data.draw(st.integers(1, 15), label="steps")):
        world.pass_time(data.draw(st.sampled_from([0, 1, 900, 5 * MILLISECOND, 10**9]), label="pause"))
        if data.draw(st.booleans(), label="tell"):
            world.tell()
        else:
            world.trade(data.draw(st.sampled_from(SYMBOLS), label="symbol"), 0, "good")
    for symbol in SYMBOLS:
        world.pass_time(2_000)
        world.trade(symbol, 0, "good")
    last = {symbol: max(moment for name, _, moment in world.sent if name == symbol) for symbol in SYMBOLS}
    world.tell()
    assert set(world.intervals["kind"]) == {"covered"}
    windows = pl.DataFrame(
        [("feed", symbol, "trades", begin, end) for symbol, end in last.items()],
        schema=["source", "symbol", "dataset", "start_time", "end_time"], orient="row",
    )  # fmt: skip
    assert find_holes(world.intervals, windows).is_empty()


def heard(world: World, act: Callable[[], None]) -> pl.DataFrame:
    act()
    world.tell()
    return world.rounds[-1]


def test_the_clock_that_was_set_back_makes_a_gap_and_nothing_beyond_now_is_covered() -> None:
    world = World(0)
    world.connect()
    world.trade("BTC-USD", 0, "good")
    world.tell()
    hour = 3_600 * 10**9
    heard(world, world.disconnect)
    world.evidence.forget_clock()
    world.now -= hour
    world.skew = 0
    for _ in range(100):
        world.connect()
        world.pass_time(10**9)
        heard(world, lambda: world.trade("BTC-USD", 0, "good"))
    ends = pl.concat(world.rounds[-100:]).filter(pl.col("kind") == "covered", pl.col("symbol") == "BTC-USD")["end_time"]
    assert ends.is_empty() or ends.max() <= world.now + 1_000
    covered = covered_stretches(world.intervals).filter(pl.col("symbol") == "BTC-USD")
    assert covered.filter(pl.col("end_time") > world.now + 1_000).is_empty()


def test_the_clock_that_was_set_forward_makes_a_gap_and_coverage_goes_on() -> None:
    world = World(0)
    world.connect()
    world.pass_time(10**9)
    heard(world, lambda: world.trade("BTC-USD", 0, "good"))
    heard(world, world.disconnect)
    world.evidence.forget_clock()
    world.now += 3_600 * 10**9
    world.connect()
    again = world.now
    for _ in range(3):
        world.pass_time(10**9)
        heard(world, lambda: world.trade("BTC-USD", 0, "good"))
    gaps = world.intervals.filter(pl.col("kind") == "gap", pl.col("symbol") == "BTC-USD")
    assert gaps["reason"].to_list() == ["disconnect"]
    [_, second] = covered_stretches(world.intervals).filter(pl.col("symbol") == "BTC-USD").iter_rows(named=True)
    assert abs(second["start_time"] - again) <= 1_000
    assert world.now <= second["end_time"] <= world.now + 1_000
