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
        # On its way, behind the message that comes next.
        self.late: list[tuple[str, int, int]] = []
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
        if fate == "late":
            self.late.append(message)
            return
        if fate == "garbage":
            self.hear(b"{garbage")
            self.knowable.append(message)
            return
        late, self.late = self.late, []
        # A number that comes after a later one of its own is as good as lost.
        self.lost[symbol] += [item for item in late if item[0] == symbol]
        for _ in range(2 if fate == "twice" else 1):
            self.hear(text_of(message))
        self.store(message)
        for item in late:
            self.hear(text_of(item))
            if item[0] != symbol:
                self.store(item)

    def store(self, message: tuple[str, int, int]) -> None:
        symbol, number, _ = message
        self.heard += 1
        self.stored.add(message[:2])
        before = [item for item in self.lost[symbol] if item[1] < number]
        # What was lost before the first number of a connection, no number tells.
        if symbol in self.numbered:
            self.knowable += before
        self.numbered.add(symbol)
        self.lost[symbol] = [item for item in self.lost[symbol] if item[1] > number]

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
            self.late.clear()
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


def text_of(message: tuple[str, int, int]) -> bytes:
    return json.dumps({"e": "trade", "s": message[0], "n": message[1], "t": message[2], "p": "1.5", "q": "2"}).encode()


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
        (st.just(0), ["good", "good", "lost", "twice", "late", "garbage"]),
        (st.integers(-2 * 10**9, 2 * 10**9), ["good", "good", "lost", "twice", "late"]),
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


FATES = ["good", "good", "good", "lost", "twice", "late"]
messages = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(FATES),
        st.sampled_from([0, 900, 10**9]),
        st.integers(0, 2 * MILLISECOND),
    ),
    max_size=20,
)


def play(said: list[tuple[str, str, int, int]], cuts: set[int]) -> World:
    """Messages over one connection, told after some of them and at the end."""
    world = World(0)
    world.connect()
    for place, (symbol, fate, pause, lag) in enumerate([*said, *((name, "good", 10**9, 0) for name in SYMBOLS)]):
        world.pass_time(pause)
        world.trade(symbol, lag, fate)
        if place in cuts:
            world.tell()
    world.tell()
    return world


def named(world: World) -> list[tuple[str, int, int]]:
    """Numbers that gaps name, by symbol."""
    return world.intervals.filter(kind="gap").select("symbol", "first_sequence", "last_sequence").rows()


@given(said=messages, cuts=st.sets(st.integers(0, 21)))
def test_every_number_is_stored_or_a_gap_names_it(said: list[tuple[str, str, int, int]], cuts: set[int]) -> None:
    world = play(said, cuts)
    gaps = named(world)
    for symbol in SYMBOLS:
        stored = {number for name, number in world.stored if name == symbol}
        missing = [number for name, first, last in gaps if name == symbol for number in range(first, last + 1)]
        # Each once, and nothing beside them.
        assert sorted([*stored, *missing]) == list(range(min(stored), world.numbers[symbol] + 1))


@given(said=messages, cuts=st.sets(st.integers(0, 21)), others=st.sets(st.integers(0, 21)))
def test_what_is_stored_counted_and_missing_does_not_depend_on_where_rounds_are_cut(
    said: list[tuple[str, str, int, int]], cuts: set[int], others: set[int]
) -> None:
    one, two = play(said, cuts), play(said, others)
    assert (one.stored, sorted(named(one))) == (two.stored, sorted(named(two)))
    for key, stream in one.evidence.streams.items():
        other = two.evidence.streams[key]
        assert (stream.messages, stream.rows, stream.missing) == (other.messages, other.rows, other.missing)
        assert (stream.is_open, stream.last_row) == (other.is_open, other.last_row)


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
