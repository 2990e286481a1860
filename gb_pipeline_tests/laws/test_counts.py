"""Whatever comes: every row is stored, refused or late, once; and the same again changes nothing."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import strategies as st

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import SetClock
from gb_pipeline_tests.faults.kills import stored
from gb_pipeline_tests.laws.answers import LENGTHS, SLOTS, SYMBOLS
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.model import SOURCE

_SLOTS = SLOTS["1m"]
WINDOW = Window(_SLOTS[0], _SLOTS[-1] + LENGTHS["1m"])
# Inside, beside the grid, outside the window, far away, unreadable.
STAMPS = st.sampled_from(
    [*_SLOTS, *_SLOTS, _SLOTS[0] + timedelta(seconds=7), WINDOW.end, datetime(1900, 1, 1, tzinfo=UTC), None]
)
NUMBERS = st.sampled_from(
    ["100", "100", "100", "100.00000001", "1e2", "-3", "0", "", "nan", "1_0", "١", "1.123456789", None]
)
VOLUMES = st.sampled_from(["1.5", "1.5", "0", "-1", "1e30", "x", None])
NAMES = st.sampled_from([*SYMBOLS, *SYMBOLS, "ZZZ-USD", None])
ROWS = st.tuples(NAMES, STAMPS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, VOLUMES)
_SCHEMA = {
    "symbol": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.String),
}
NOW = datetime(2024, 3, 1, tzinfo=UTC)


@law(
    st.lists(st.lists(ROWS, max_size=14), min_size=1, max_size=3),
    st.sampled_from([0.01, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from(Precision),
    few=15,
)
def test_every_row_is_stored_refused_or_late_once_and_the_same_again_changes_nothing(
    answers: list[list[tuple[object, ...]]], limit: float, late: bool, precision: Precision
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LakeStore.at(folder, clock=SetClock(NOW))
        for number, rows in enumerate(answers):
            frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
            asked = NOW - timedelta(hours=number) if late else NOW + timedelta(hours=number)
            first = write(store, frame, limit, asked, precision)
            before = everything(store, precision)
            again = write(store, frame.reverse(), limit, asked, precision)
            for report in (first, again):
                accounted = report.stored + report.unchanged + report.quarantined + report.duplicates
                assert report.received == frame.height == accounted
            assert (again.version, again.restated, again.withdrawn) == (None, 0, 0)
            assert again.stored == 0
            assert everything(store, precision) == before
        refused = quarantine.read(store.tables)
        assert refused["row_id"].is_unique().all()
        assert refused["reasons"].list.len().min() is None or refused["reasons"].list.len().min() > 0  # type: ignore[operator]
        name = bars_dataset(Resolution.MINUTE, precision).name
        assert len(LakeStore.at(folder).tables.newest(name).files) == len(store.tables.newest(name).files)


def write(store: LakeStore, frame: pl.DataFrame, limit: float, asked: datetime, precision: Precision):
    rules = BarRules(max_bad_fraction=limit, precision=precision)
    return store.write_bars(SOURCE, SYMBOLS, Resolution.MINUTE, WINDOW, frame, rules=rules, fetched_at=asked)


def everything(store: LakeStore, precision: Precision) -> object:
    """All versions of bars, all refused rows, and the version of every table."""
    versions = {found.dataset.name: found.version for found in store.tables.existing()}
    return stored(store, precision), sorted(quarantine.read(store.tables)["row_id"]), versions
