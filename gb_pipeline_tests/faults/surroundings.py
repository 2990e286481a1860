"""What a lake does in unusual surroundings, each in a process of its own.

Run as `python -m gb_pipeline_tests.faults.surroundings WHAT FOLDER`. Tests prepare the surroundings; here is what has to hold in
them. Whatever does not hold ends the process with an error.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.faults.specimen import FIRST, SOURCE, ask

SYMBOL = "BTC-USD"


def refused(act: Callable[[], object], *words: str) -> None:
    """An error of the lake that says why."""
    try:
        act()
    except LakeError as error:
        assert any(word in str(error) for word in words), error
        assert error.fix, error
    else:
        raise AssertionError("it was not refused")


def read_only(folder: Path) -> None:
    """`lake` cannot be written; `writable` is the same lake, which can."""
    answers, truth = ask(folder / "lake"), ask(folder / "writable")
    for question, answer in answers.items():
        assert isinstance(answer, pl.DataFrame), f"{question}: {answer}"
        assert answer.equals(truth[question]), question
    store = LakeStore.at(folder / "lake")
    assert verify(store).ok
    assert store.vacuum(dry_run=True)
    said = "ead-only", "ermission"
    refused(
        lambda: store.write_bars(
            SOURCE, FIRST, Resolution.MINUTE, day("2024-03-04"), minutes("2024-03-04", 5, symbol=FIRST)
        ),
        *said,
    )
    refused(lambda: [store.compact(item) for item in store.compaction_candidates(min_files=2)], *said)
    refused(lambda: store.vacuum(dry_run=False, retention=timedelta(hours=1)), *said)
    refused(lambda: refresh_catalog(store), *said)


def few_handles(folder: Path) -> None:
    """A process may have 64 files open; a table has many more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    store = LakeStore.at(folder / "lake")
    days = 80
    for number in range(days):
        date = f"2024-{1 + number // 28:02d}-{1 + number % 28:02d}"
        store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, day(date), minutes(date, 30))
    lake = Lake(LakeStore.at(folder / "lake"))
    for _ in range(3):
        assert lake.bars(SYMBOL, "1m").height == lake.scan_bars(SYMBOL, "1m").collect().height == days * 30
        assert lake.sql("select count(*) from bars_1m").item() == days * 30
        assert lake.coverage()["actual"].sum() == days * 30
    assert verify(store).ok
    assert sum(
        report.version is not None
        for item in store.compaction_candidates(min_files=2)
        for report in store.compact(item)
    )
    assert store.vacuum(dry_run=False)
    assert lake.bars(SYMBOL, "1m").height == days * 30
    assert len(os.listdir("/proc/self/fd")) < 40  # noqa: PTH208


def no_temporary_folder(folder: Path) -> None:
    """Nobody finds a place for temporary files."""

    def nowhere() -> str:
        raise FileNotFoundError("no usable temporary folder")

    tempfile.gettempdir = tempfile._get_default_tempdir = nowhere  # type: ignore[assignment,attr-defined]
    store = LakeStore.at(folder / "lake")
    store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, day("2024-03-04"), minutes("2024-03-04"))
    store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, day("2024-03-05"), minutes("2024-03-05"))
    refresh_catalog(store)
    lake = Lake(store)
    assert lake.sql("select symbol, timestamp, close from bars_1m order by close, timestamp").height == 2880
    assert lake.bars(SYMBOL, "1m").height == 2880
    assert [report.files_after for item in store.compaction_candidates(min_files=2) for report in store.compact(item)]
    store.tables["bars_1m"].checkpoint()
    store.vacuum(dry_run=False)
    assert verify(LakeStore.at(folder / "lake")).ok


if __name__ == "__main__":
    {act.__name__: act for act in (read_only, few_handles, no_temporary_folder)}[sys.argv[1]](Path(sys.argv[2]))
