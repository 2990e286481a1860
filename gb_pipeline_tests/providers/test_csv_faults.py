"""Whatever goes wrong with files: exact data or a typed error, never an empty or partial answer taken for truth.

The fault matrix of the vendors, as far as files have such faults: every case goes from gb.yaml into a lake.
"""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    HistoryNotAvailable,
    NoDataInRange,
    PermanentVendorError,
    UnknownSeries,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches
from gb_pipeline.lake.report import SessionReport, SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.ingest.clock import stop_at

DAY = date(2024, 6, 11)
HEADER = "timestamp,open,high,low,close,volume\n"
SYMBOL = Symbol.crypto("BTC-USD")
HOURS = [datetime(2024, 6, 11, hour, tzinfo=UTC) for hour in range(24)]


def line(hour: datetime, volume: str = "12.5") -> str:
    base = 100 + hour.hour
    return f"{hour:%Y-%m-%dT%H:%M:%SZ},{base}.25,{base + 1}.5,{base}.125,{base}.75,{volume}\n"


LINES = [line(hour) for hour in HOURS]
WHOLE = HEADER + "".join(LINES)
TRUTH = {
    hour: tuple(Decimal(value) for value in text.strip().split(",")[1:])
    for hour, text in zip(HOURS, LINES, strict=True)
}


class Files:
    """A folder of files and the lake that they are ingested into."""

    def __init__(self, root: Path) -> None:
        self.folder, self.store = root / "files", LakeStore.at(root / "lake")
        self.folder.mkdir()
        self.now = datetime(2024, 7, 1, tzinfo=UTC)

    def write(self, text: str, name: str = "BTC-USD.csv") -> None:
        (self.folder / name).write_text(text, encoding="utf-8", newline="")

    def ingest(self, day: date = DAY, path: str = "{symbol}.csv", **settings: Any) -> Outcome:
        source = SourceSettings.model_validate(
            {
                "name": "files",
                "provider": "csv",
                "asset_class": "crypto",
                "start": "2024-01-01",
                "resolutions": ["1h"],
                "symbols": [SYMBOL.code],
                "options": {"root": str(self.folder), "path": path},
                **settings,
            }
        )
        job = Job(SYMBOL, day, day + timedelta(days=1))
        # Calls are told apart by their time.
        self.now += timedelta(seconds=1)
        return ingest(stop_at(self.store, self.now), source, Resolution.HOUR, [job])[0]

    @property
    def stored(self) -> dict[datetime, tuple[Decimal, ...]]:
        try:
            rows = Lake(self.store).bars(SYMBOL, "1h", source="files")
        except (UnknownSeries, NoDataInRange):
            return {}
        names = ["timestamp", "open", "high", "low", "close", "volume"]
        return {stamp: tuple(values) for stamp, *values in rows.select(names).iter_rows()}

    @property
    def fetched(self) -> list[tuple[str, int, str | None]]:
        return fetches.read(self.store.tables).select("outcome", "received", "error").rows()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def session(outcome: Outcome) -> SessionReport:
    (report,) = outcome.sessions
    return report


@pytest.mark.parametrize("text", [
    WHOLE,
    HEADER + "".join(reversed(LINES)),
    HEADER + "".join([*LINES[::2], *LINES[1::2]]),
    WHOLE.replace("\n", "\r\n"),
    WHOLE.rstrip("\n"),
    "\ufeff" + WHOLE,
    WHOLE.replace("12.5", "1.25e1").replace("100.25", "1.0025E+2"),
], ids=["whole", "backwards", "out of order", "windows", "no last newline", "byte order mark", "exponents"])  # fmt: skip
def test_what_is_written_another_way_is_the_same_data(files: Files, text: str) -> None:
    files.write(text)
    outcome = files.ingest()
    assert (outcome.error, session(outcome).status) == (None, SessionStatus.COMPLETE)
    assert files.stored == TRUTH
    assert files.fetched == [("ok", 24, None)]


def test_of_identical_lines_one_is_stored(files: Files) -> None:
    files.write(HEADER + "".join([*LINES, LINES[3], *LINES[10:14]]))
    outcome = files.ingest()
    assert (outcome.error, session(outcome).status, session(outcome).reasons) == (None, SessionStatus.COMPLETE, {})
    assert (outcome.counts.received, outcome.counts.stored, outcome.counts.duplicates) == (29, 24, 5)
    assert files.stored == TRUTH


def test_files_that_overlap_are_stored_once(files: Files) -> None:
    files.write(HEADER + "".join(LINES[:14]), "BTC-USD_1.csv")
    files.write(HEADER + "".join(LINES[10:]), "BTC-USD_2.csv")
    assert session(files.ingest(path="{symbol}_*.csv")).status is SessionStatus.COMPLETE
    assert files.stored == TRUTH


def test_of_lines_that_contradict_each_other_none_is_stored(files: Files) -> None:
    files.write(WHOLE + line(HOURS[3], "99"))
    outcome = files.ingest(max_bad_fraction=0.5)
    assert session(outcome).status is SessionStatus.PARTIAL
    assert files.stored == {hour: row for hour, row in TRUTH.items() if hour != HOURS[3]}


def test_fractions_keep_every_digit(files: Files) -> None:
    files.write(HEADER + "".join(line(hour, "9099.61809345") for hour in HOURS))
    assert files.ingest().error is None
    assert {row[4] for row in files.stored.values()} == {Decimal("9099.61809345")}


@pytest.mark.parametrize(("lines", "status"), [
    (0, SessionStatus.EMPTY), (1, SessionStatus.PARTIAL), (12.5, SessionStatus.REFUSED), (23.6, SessionStatus.REFUSED),
])  # fmt: skip
def test_a_truncated_file_is_never_a_complete_session(files: Files, lines: float, status: SessionStatus) -> None:
    whole, part = LINES[: int(lines)], LINES[min(int(lines), 23)]
    files.write(HEADER + "".join(whole) + part[: int(len(part) * (lines % 1))])
    outcome = files.ingest()
    assert outcome.error is None
    assert session(outcome).status is status
    assert session(outcome).missing > 0
    assert files.stored.items() <= TRUTH.items()
    # The whole file mends it.
    files.write(WHOLE)
    assert session(files.ingest()).status is SessionStatus.COMPLETE
    assert files.stored == TRUTH


BROKEN: dict[str, tuple[bytes, type[VendorError]]] = {
    "empty": (b"", PermanentVendorError),
    "a web page": (b"<html><body>Please log in</body></html>", PermanentVendorError),
    "json": (b'{"error":"not found"}', PermanentVendorError),
    "another delimiter": (WHOLE.replace(",", ";").encode(), PermanentVendorError),
    "other columns": (WHOLE.replace("close", "last").encode(), PermanentVendorError),
    "stamps without a zone": (WHOLE.replace("Z,", ",").encode(), PermanentVendorError),
    "zeros": (bytes(4096), PermanentVendorError),
    "another encoding": (WHOLE.encode("utf-16"), PermanentVendorError),
    "half an archive": (gzip.compress(WHOLE.encode())[:200], PermanentVendorError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_error_and_leaves_what_is_stored(files: Files, name: str) -> None:
    content, kind = BROKEN[name]
    path = files.folder / "BTC-USD.csv"
    path.write_bytes(content)
    for before in ({}, TRUTH):
        outcome = files.ingest()
        assert isinstance(outcome.error, kind), outcome.error
        assert outcome.error.fix
        assert session(outcome).status is SessionStatus.FAILED
        assert files.stored == before
        assert files.fetched[-1] == ("error", 0, type(outcome.error).__name__)
        files.write(WHOLE)
        assert files.ingest().error is None
        path.write_bytes(content)


def test_a_file_that_vanishes_is_an_error_and_leaves_what_is_stored(files: Files) -> None:
    files.write(WHOLE)
    files.ingest()
    (files.folder / "BTC-USD.csv").unlink()
    outcome = files.ingest()
    assert isinstance(outcome.error, UnknownSymbol)
    assert files.stored == TRUTH
    assert files.fetched == [("ok", 24, None), ("error", 0, "UnknownSymbol")]


def test_a_day_whose_file_vanished_or_never_was_is_an_error(files: Files) -> None:
    for day in (10, 12):
        text = HEADER + "".join(line(hour.replace(day=day)) for hour in HOURS)
        files.write(text, f"BTC-USD_202406{day}.csv")
    dated = "{symbol}_{date}.csv"
    missing = files.ingest(path=dated)
    assert isinstance(missing.error, PermanentVendorError)
    before = files.ingest(date(2024, 6, 9), dated)
    assert isinstance(before.error, HistoryNotAvailable)
    assert before.error.first == datetime(2024, 6, 10, tzinfo=UTC)
    assert files.stored == {}
    assert files.ingest(date(2024, 6, 12), dated).error is None
    assert [row[0] for row in files.fetched] == ["error", "error", "ok"]


def test_a_restated_line_is_taken_over_and_counted(files: Files) -> None:
    files.write(WHOLE)
    assert session(files.ingest()).restated == 0
    changed = [line(HOURS[0], "13.5"), *LINES[1:]]
    files.write(HEADER + "".join(changed))
    assert session(files.ingest()).restated == 1
    assert files.stored == TRUTH | {HOURS[0]: (*TRUTH[HOURS[0]][:4], Decimal("13.5"))}


def test_a_line_that_a_file_no_longer_has_stays_and_is_told(files: Files) -> None:
    files.write(WHOLE)
    files.ingest()
    files.write(HEADER + "".join(LINES[:20]))
    assert session(files.ingest()).withdrawn == 4
    assert files.stored == TRUTH


def test_history_that_begins_later_is_what_there_is(files: Files) -> None:
    files.write(HEADER + "".join(LINES[15:]))
    outcome = files.ingest()
    assert (outcome.error, session(outcome).status) == (None, SessionStatus.PARTIAL)
    assert list(files.stored) == HOURS[15:]
    assert session(files.ingest(date(2024, 6, 10))).status is SessionStatus.EMPTY
    assert [row[0] for row in files.fetched] == ["ok", "empty"]
