"""Everybody who tells what became of the rows of an answer tells the same, whatever came."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl
from hypothesis import strategies as st

from gb_pipeline.cli.fetch_summary import sum_by_symbol
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches, quarantine
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.orchestration.events.outcome import split_by_partition
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.read_rows import ReadRows
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.ingest.test_order import Vendor
from gb_pipeline_tests.laws.law import law

SYMBOLS = [Symbol.crypto("AAA-USD"), Symbol.crypto("BBB-USD")]
DAYS = [date(2024, 1, 4), date(2024, 1, 5), date(2024, 1, 6)]
NAMES = ("received", "stored", "unchanged", "quarantined", "duplicates")
# Of three days of which the third is a Saturday, of the day after, of 1970, of the year 56,000 and of no day.
STAMPS = st.sampled_from(
    [
        *(at(f"{day}T{hour:02}:00") for day in DAYS for hour in (0, 1, 23)),
        at("2024-01-07T00:00"),
        at("1970-01-20T16:58:09"),
        None,
    ]
)
PRICES = st.sampled_from(["100", "100", "100", "100", "100.0", "-3", "x", "null", "", None])
ROWS = st.tuples(STAMPS, PRICES, PRICES, st.sampled_from(["1.5", "1.5", "2", None]))


class Answers(Vendor):
    """Has other rows for each symbol, read from files of so many lines."""

    def __init__(self, rows: Mapping[str, list[tuple[object, ...]]], rows_read: int | None) -> None:
        self.rows, self.rows_read = rows, rows_read

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        kinds = {"timestamp": pl.Datetime("us", "UTC"), "open": pl.String, "close": pl.String, "volume": pl.String}
        rows = pl.DataFrame(self.rows[symbol.code], schema=kinds, orient="row")
        frame = rows.select("timestamp", "open", high="open", low="open", close="close", volume="volume")
        return Fetched(frame, "0" * 64, 1, 1, 0.0, rows_read=self.rows_read)


@law(
    st.lists(st.tuples(st.lists(ROWS, max_size=12), st.lists(ROWS, max_size=12)), min_size=1, max_size=2),
    st.sampled_from([0.01, 0.4, 1.0]),
    st.sampled_from(["24/7", "24/5"]),
    st.sampled_from([None, 1000]),
    few=12,
    many=300,
)
def test_report_table_json_and_pages_say_the_same_of_the_rows_of_every_answer(
    answers: list[tuple[list[tuple[object, ...]], list[tuple[object, ...]]]],
    limit: float,
    calendar: str,
    rows_read: int | None,
) -> None:
    source = SourceSettings(
        name="own", provider="ccxt", asset_class="crypto", start=DAYS[0], symbols=[item.code for item in SYMBOLS],
        resolutions=["1h"], calendar=calendar, max_bad_fraction=limit,
    )  # fmt: skip
    jobs = [Job(symbol, DAYS[0], DAYS[-1] + timedelta(days=1)) for symbol in SYMBOLS]
    with tempfile.TemporaryDirectory() as folder:
        store = LakeStore.at(folder, clock=SetClock(at("2024-02-01T00:00")))
        for one, other in answers:
            kept = quarantine.read(store.tables).height
            asked = fetches.read(store.tables).height
            vendor = Answers({"AAA-USD": one, "BBB-USD": other}, rows_read)
            outcomes = ingest(store, source, Resolution.HOUR, jobs, provider=vendor)  # type: ignore[arg-type]
            newest = {row["symbol"]: row for row in fetches.read(store.tables).tail(2).to_dicts()}
            assert fetches.read(store.tables).height == asked + 2
            in_json = {row["symbol"]: row for row in sum_by_symbol(outcomes)}
            for outcome, rows in zip(outcomes, (one, other), strict=True):
                code = outcome.symbol.code
                assert outcome.counts.received == len(rows)
                assert RowCounts(**{name: newest[code][name] for name in (*NAMES, "unplaced")}) == outcome.counts
                assert RowCounts(**{name: in_json[code][name] for name in (*NAMES, "unplaced")}) == outcome.counts
                assert pages(outcome) == outcome.counts
                read = {
                    name: max(len(rows), rows_read or 0) if name == "read" else len(rows)
                    for name in ("read", "received")
                }
                expected = ReadRows(**read, outside=read["read"] - read["received"])
                for told in (newest[code], in_json[code]):
                    assert ReadRows(told["read"], told["received"], told["outside"]) == expected == outcome.read_rows
                check_statuses(outcome)
            assert quarantine.read(store.tables).height - kept <= sum(item.counts.quarantined for item in outcomes)
        if len(answers) == 1:
            assert quarantine.read(store.tables).height == sum(item.counts.quarantined for item in outcomes)


def pages(outcome: Outcome) -> RowCounts:
    """What Dagster's pages say of all partitions of a job, and of the rows that belong to none."""
    keys = {str(day): (day, day + timedelta(days=1)) for day in DAYS}
    shown = [item.materialization_metadata(0) for item in split_by_partition(keys, outcome)]
    assert {item["whole_fetch"] for item in shown} <= {outcome.counts.sentence}
    assert {item["rows_read"] for item in shown} <= {outcome.read_rows.sentence}
    unplaced = outcome.counts.unplaced
    sums = {name: sum(item[name] for item in shown) for name in NAMES}
    # A row of no session is on no page, and neither is its repeat.
    repeats = outcome.counts.duplicates - sums["duplicates"]
    assert 0 <= repeats <= (1000 if unplaced else 0)
    sums["received"] += unplaced + repeats
    sums["quarantined"] += unplaced
    sums["duplicates"] += repeats
    return RowCounts(**sums, unplaced=unplaced)


def check_statuses(outcome: Outcome) -> None:
    """No session is called empty of which a row may be, and none whose rows were all refused."""
    of_any_day = outcome.unplaced is not None and (outcome.unplaced.of_any_day or outcome.unplaced.refused)
    for session in outcome.sessions:
        if session.status == "empty":
            assert not of_any_day
            assert session.received == 0
        if of_any_day:
            assert {gap.reason for gap in session.gaps} <= {"unknown", "closed"}
    refused = outcome.unplaced is not None and outcome.unplaced.refused
    assert not (refused and outcome.ok)
    assert not (refused and outcome.counts.stored + outcome.counts.unchanged)
