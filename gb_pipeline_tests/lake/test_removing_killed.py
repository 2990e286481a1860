"""Killed anywhere, a table of bars is changed as a whole or not at all, and running it again does what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gb_pipeline.errors import ConfigError, NoDataInRange, UnknownSeries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import SetClock, at, changed, day, every_version, minutes

T2, T3 = at("2024-02-02T00:00"), at("2024-02-03T00:00")
NOON = at("2024-02-01T12:00")
WORK = """
import sys
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at
store = LakeStore.at(sys.argv[1], clock=SetClock(at("2024-02-02T00:00")))
{}
"""
DELETE = 'store.delete("sim", "BTC-USD", reason="a test")'
RENAME = 'store.rename("sim", "BTC-USD", "XBT-USD", reason="a test")'
PURGE = 'store.delete("sim", "BTC-USD", reason="a test", purge=True)'


@pytest.fixture
def lake(store: LakeStore, write) -> LakeStore:
    """Minutes of two days, one of which shares its bars between both precisions, and days of two symbols."""
    for text in ("2024-01-02", "2024-01-03"):
        write(store, minutes(text, 10), day(text))
    wide = changed(minutes("2024-01-02", 10), 5, close="105.750000000000000001")
    write(store, wide, rules=BarRules(precision=Precision.WIDE))
    for symbol in ("BTC-USD", "ETH-USD"):
        frame = minutes("2024-01-02", 2, symbol=symbol, step=86_400)
        write(store, frame, day("2024-01-02", 2), symbols=symbol, resolution="1d")
    return store


def run_killed(store: LakeStore, work: str, point: str) -> LakeStore:
    command = [sys.executable, "-c", WORK.format(work), store.storage.root]
    environment = {**os.environ, "GB_FAULT_POINT": point}
    run = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=False)
    assert run.returncode == -9, "the point was reached"
    return LakeStore.at(store.storage.root, clock=SetClock(T3))


def counts(store: LakeStore, symbol: str, **how) -> tuple[int, int]:
    """Bars of a minute and of a day."""
    found = []
    for resolution in ("1m", "1d"):
        try:
            found.append(Lake(store).bars(symbol, resolution, **how).height)
        except (NoDataInRange, UnknownSeries):
            found.append(0)
    return found[0], found[1]


# Each table has two commits: that of `removals`, and that of the bars.
POINTS = [
    *("entry_written:2", "committed:2"),
    *(
        pytest.param(point, marks=pytest.mark.long)
        for point in (
            *("before_files:1", "files_synced:1", "committed:1", "file_written:2", "before_ledger:1", "committed:3"),
            *("entry_written:4", "committed:4", "before_ledger:2", "committed:5", "entry_written:6"),
        )
    ),
]


@pytest.mark.parametrize("point", POINTS)
def test_a_table_is_deleted_as_a_whole_or_not_at_all(lake: LakeStore, point: str) -> None:
    again = run_killed(lake, DELETE, point)
    now = counts(again, "BTC-USD")
    # The standard table of minutes, with nine bars of its own of the day that went wide, ends first, then the wide one.
    assert now in {(20, 2), (1, 2), (0, 2)}
    removed = int(Lake(again).removals()["bars"].sum())
    assert sum(now) + removed == 22
    assert Lake(again).fingerprint(verify=True).is_proved
    assert verify(again).ok
    again.delete("sim", "BTC-USD", reason="again")
    assert counts(again, "BTC-USD") == (0, 0)
    assert counts(again, "ETH-USD") == (0, 2)
    assert counts(again, "BTC-USD", as_of=NOON) == (20, 2)
    assert int(Lake(again).removals()["bars"].sum()) == 22
    assert set(Lake(again).coverage("sim", "BTC-USD")["status"]) == {"removed"}
    assert Lake(again).fingerprint(verify=True).is_proved
    assert verify(again).ok


@pytest.mark.parametrize("point", POINTS)
def test_every_bar_stands_under_one_of_two_symbols(lake: LakeStore, point: str) -> None:
    sessions = Lake(lake).coverage("sim", "BTC-USD").drop("symbol", "known_at", "fingerprint").to_dicts()
    again = run_killed(lake, RENAME, point)
    one, other = counts(again, "BTC-USD"), counts(again, "XBT-USD")
    assert (one[0] + other[0], one[1] + other[1]) == (20, 2)
    assert Lake(again).fingerprint(verify=True).is_proved
    assert verify(again).ok
    again.rename("sim", "BTC-USD", "XBT-USD", reason="again")
    assert (counts(again, "BTC-USD"), counts(again, "XBT-USD")) == ((0, 0), (20, 2))
    assert counts(again, "BTC-USD", as_of=NOON) == (20, 2)
    told = Lake(again).coverage("sim", "XBT-USD").drop("symbol", "known_at", "fingerprint")
    assert told.to_dicts() == sessions
    assert Lake(again).fingerprint(verify=True).is_proved
    assert verify(again).ok
    with pytest.raises(ConfigError):
        again.rename("sim", "BTC-USD", "XBT-USD", reason="once more")


@pytest.mark.parametrize(
    "point",
    [
        "entry_written:8",
        "committed:12",
        *[pytest.param(f"committed:{n}", marks=pytest.mark.long) for n in range(1, 13)],
    ],
)
def test_a_purge_that_was_cut_off_goes_on(lake: LakeStore, point: str) -> None:
    again = run_killed(lake, PURGE, point)
    assert verify(again).ok
    assert Lake(again).fingerprint(verify=True).is_proved
    again.delete("sim", "BTC-USD", reason="again", purge=True)
    assert counts(again, "BTC-USD", as_of=NOON) == (0, 0)
    assert every_version(again, "bars_1d")["symbol"].unique().to_list() == ["ETH-USD"]
    assert every_version(again).is_empty()
    assert every_version(again, "bars_1m_wide").is_empty()
    assert counts(again, "ETH-USD", as_of=NOON) == (0, 2)
    assert Lake(again).fingerprint(verify=True).is_proved
    assert Lake(again).fingerprint(as_of=NOON, verify=True).is_proved
    assert verify(again).ok
