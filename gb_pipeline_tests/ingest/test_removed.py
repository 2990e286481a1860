"""A fetch of a range leaves removed sessions out, wherever they lie in it, and says so."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Chunk, Job
from gb_pipeline.ingest.removed import without_removed
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import minutes
from gb_pipeline_tests.ingest.test_order import BTC, MINUTE, NOW, Ticking, Vendor, source

FIRST = date(2024, 1, 1)
AAPL = Symbol.equity("AAPL")


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 30)),
    st.integers(1, 31),
    st.sampled_from([(Resolution.MINUTE, "XNYS"), (Resolution.DAY, "XNYS"), (Resolution.WEEK, "24/7")]),
)
def test_the_parts_of_a_chunk_hold_every_other_session_once_and_no_removed_one(numbers, length, kind):
    rules = BarRules(resolution=kind[0], calendar=get_calendar(kind[1]))
    end = FIRST + timedelta(days=length)
    sessions = rules.calendar.expected(FIRST, end, rules.resolution, rules.alignment)["session"].unique().sort()
    gone = [day for day in sessions if (day - FIRST).days in numbers]
    removed = pl.DataFrame({"symbol": ["AAPL"] * len(gone), "session": gone}, schema_overrides={"session": pl.Date()})
    parts = without_removed([Chunk(0, AAPL, FIRST, end)], removed, rules)
    held = [day for part in parts for day in sessions if part.start <= day < part.end]
    assert held == [day for day in sessions if day not in gone]
    assert all(part.start < part.end for part in parts)


class Meanwhile(Vendor):
    """Somebody else deletes the series while the vendor answers, and keeps which days were asked for."""

    def __init__(self, frame: pl.DataFrame, other: LakeStore | None) -> None:
        super().__init__(frame)
        self.other, self.asked = other, list[date]()

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        self.asked.append(window.start.date())
        if self.other is not None:
            self.other.delete("own", symbol, reason="a test")
        rows = self.frame.filter((pl.col("timestamp") >= window.start) & (pl.col("timestamp") < window.end))
        return Fetched(rows, "0" * 64, 1, 1, 0.0)


def test_what_is_deleted_while_it_is_fetched_stays_deleted_until_it_is_wanted_back(tmp_path):
    clock = Ticking(NOW)
    store, other = LakeStore.at(tmp_path, clock=clock), LakeStore.at(tmp_path, clock=clock)
    frame = pl.concat([minutes("2024-01-02"), minutes("2024-01-03")])
    first = [Job(BTC, date(2024, 1, 2), date(2024, 1, 3))]
    ingest(store, source(), MINUTE, first, provider=Vendor(minutes("2024-01-02")))
    both = [Job(BTC, date(2024, 1, 2), date(2024, 1, 4))]
    # One day was stored and is deleted meanwhile; the other one had not been fetched, and is no part of what was deleted.
    [outcome] = ingest(store, source(), MINUTE, both, provider=Meanwhile(frame, other))
    assert [session.status.value for session in outcome.sessions] == ["removed", "complete"]
    assert outcome.counts.stored == outcome.counts.quarantined == 1440
    assert Lake(store).bars("BTC-USD", "1m")["timestamp"].dt.date().unique().to_list() == [date(2024, 1, 3)]
    vendor = Meanwhile(frame, None)
    [outcome] = ingest(store, source(), MINUTE, both, provider=vendor)
    assert vendor.asked == [date(2024, 1, 3)]
    assert outcome.ok
    # A partition of which nothing is asked for has its report all the same.
    [outcome] = ingest(store, source(), MINUTE, first, provider=vendor)
    assert (vendor.asked, outcome.ok, outcome.statuses) == ([date(2024, 1, 3)], True, {"removed": 1})
    [outcome] = ingest(store, source(), MINUTE, both, provider=vendor, again=True)
    assert outcome.counts.stored == 1440
    assert Lake(store).bars("BTC-USD", "1m").height == 2880
    assert Lake(store).fingerprint(verify=True).is_proved
