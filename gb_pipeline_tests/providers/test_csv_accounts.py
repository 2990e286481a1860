"""Rows of files that nobody asked for are counted, and files of an impossible time are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.cli.fetch_summary import print_summary, sum_by_symbol
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import split_by_partition
from gb_pipeline.quality.read_rows import FileRows
from gb_pipeline_tests.ingest.clock import stop_at

HEADER = "timestamp,open,high,low,close,volume\n"
DAY = timedelta(days=1)
FIRST = date(2024, 1, 1)


def bars(*stamps: object) -> str:
    return HEADER + "".join(f"{stamp},1,2,1,1.5,10\n" for stamp in stamps)


def settings_of(
    root: Path, resolution: str = "1d", source: dict[str, Any] | None = None, **options: Any
) -> SourceSettings:
    return SourceSettings.model_validate({
        "name": "own", "provider": "csv", "asset_class": "crypto", "calendar": "24/7", "start": str(FIRST),
        "resolutions": [resolution], "symbols": ["AAA"], **(source or {}),
        "options": {"root": str(root), "path": "{symbol}.csv", **options},
    })  # fmt: skip


def store_of(root: Path) -> LakeStore:
    return stop_at(LakeStore.at(root / "lake"), datetime(2024, 12, 1, tzinfo=UTC))


def fetch(root: Path, start: date, days: int, source: SourceSettings | None = None) -> Outcome:
    own = source or settings_of(root)
    job = Job(own.instruments[0], start, start + days * DAY)
    return ingest(store_of(root), own, own.resolutions[0], [job])[0]


def test_rows_of_days_that_were_not_asked_for_are_told_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "AAA.csv").write_text(bars(*(FIRST + n * DAY for n in range(366))))
    outcome = fetch(tmp_path, date(2024, 3, 1), 1)
    files = (FileRows("AAA.csv", 366, 365),)
    assert (outcome.ok, outcome.counts.received, outcome.read_rows.files) == (True, 1, files)
    [row] = sum_by_symbol([outcome])
    assert (row["read"], row["outside"], row["files"]) == (366, 365, [{"file": "AAA.csv", "read": 366, "outside": 365}])
    told = fetches.read(store_of(tmp_path).tables).to_dicts()[0]
    assert (told["read"], told["received"], told["outside"], told["files"]) == (366, 1, 365, row["files"])
    print_summary([row])
    assert "AAA.csv: 366 rows read, 365 outside of what was asked for\n1 row received" in capsys.readouterr().err
    [page] = split_by_partition({"day": (date(2024, 3, 1), date(2024, 3, 2))}, outcome)
    metadata = page.materialization_metadata(1)
    assert metadata["rows_read"] == "366 rows read: 1 received, 365 outside of what was asked for"
    assert metadata["files"].records[0].data == row["files"][0]


def test_a_file_that_is_read_for_many_questions_is_counted_once(tmp_path: Path) -> None:
    # Minutes are asked for a month at a time.
    stamps = [datetime(2023, 12, 31, tzinfo=UTC) + n * 7 * DAY for n in range(30)]
    (tmp_path / "AAA.csv").write_text(bars(*(f"{stamp:%Y-%m-%dT%H:%MZ}" for stamp in stamps)))
    outcome = fetch(tmp_path, FIRST, 120, settings_of(tmp_path, "1m"))
    assert fetches.read(store_of(tmp_path).tables).height > 1
    # One before, and those after the 120 days.
    inside = sum(FIRST <= stamp.date() < FIRST + 120 * DAY for stamp in stamps)
    assert outcome.read_rows.files == (FileRows("AAA.csv", 30, 30 - inside),)
    assert outcome.counts.received == inside


def test_a_file_of_another_day_that_was_only_looked_into_is_not_counted(tmp_path: Path) -> None:
    for n in range(5):
        day = FIRST + n * DAY
        (tmp_path / f"AAA-{day:%Y%m%d}.csv").write_text(bars(f"{day}T00:00Z", f"{day}T05:00Z"))
    source = settings_of(tmp_path, "1h", path="{symbol}-{date}.csv")
    assert fetch(tmp_path, FIRST + DAY, 2, source).read_rows.files == (
        FileRows("AAA-20240102.csv", 2, 0),
        FileRows("AAA-20240103.csv", 2, 0),
    )


def test_bars_of_panels_are_counted_once(tmp_path: Path) -> None:
    for field in ("open", "high", "low", "close", "volume"):
        (tmp_path / f"{field}.csv").write_text("timestamp,AAA\n" + "".join(f"{FIRST + n * DAY},5\n" for n in range(9)))
    outcome = fetch(tmp_path, FIRST, 3, settings_of(tmp_path, path="{field}.csv", layout="wide"))
    assert outcome.read_rows.files == (FileRows("open.csv and 4 more files", 9, 6),)


@pytest.mark.parametrize(
    ("stamps", "said"),
    [
        # Seconds since 1970 that somebody took for microseconds or nanoseconds.
        (["1970-01-01 00:28:24.067200", "1970-01-01 00:28:24.153600"], "are of 1970-01-01, which is no plausible time"),
        (["1970-01-20", "1970-01-21"], "are of 1970-01-20 to 1970-01-21, which is no plausible time"),
        (["2924-01-02", "2924-01-03"], "out of any plausible range"),
    ],
)
def test_days_are_not_empty_because_all_stamps_of_a_file_are_impossible(
    tmp_path: Path, stamps: list[str], said: str
) -> None:
    (tmp_path / "AAA.csv").write_text(bars(*stamps))
    outcome = fetch(tmp_path, FIRST, 3)
    assert outcome.error is not None
    assert said in outcome.error.what
    assert outcome.statuses == {"failed": 3}


def test_one_impossible_stamp_among_good_ones_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "AAA.csv").write_text(bars(*(FIRST + n * DAY for n in range(200)), "2924-01-02"))
    outcome = fetch(tmp_path, FIRST, 200)
    assert (outcome.counts.stored, outcome.counts.quarantined) == (200, 1)
    assert outcome.unplaced is not None
    assert "implausible_timestamp" in outcome.unplaced.sentence


def test_a_source_that_begins_in_1970_has_bars_of_then(tmp_path: Path) -> None:
    (tmp_path / "AAA.csv").write_text(bars("1970-01-02", "1970-01-03"))
    assert (
        fetch(tmp_path, date(1970, 1, 2), 2, settings_of(tmp_path, source={"start": "1970-01-01"})).counts.stored == 2
    )
    # Nor is a history that only passes through these weeks.
    (tmp_path / "AAA.csv").write_text(bars("1969-12-31", "1970-01-02", "2024-01-01"))
    assert fetch(tmp_path, FIRST, 1).counts.stored == 1


def test_a_file_that_is_named_by_another_day_than_its_rows_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "AAA-20240102.csv").write_text(bars("2023-01-02T00:00Z", "2023-01-02T01:00Z"))
    source = settings_of(
        tmp_path, "1h", path="{symbol}-{date}.csv", missing_date="empty", source={"start": "2024-01-02"}
    )
    outcome = fetch(tmp_path, date(2024, 1, 2), 1, source)
    assert outcome.error is not None
    assert "is named by 2024-01-02, and all of its 2 rows are of 2023-01-02" in outcome.error.what
