"""Kills, and what must be true after each: nothing lost, nothing doubled, nothing half done."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from gb_pipeline.catalog.connection import open_catalog
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.lake import ledger, quarantine
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.quality.fingerprint import fingerprint_text
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import reading
from gb_pipeline_tests.faults.kill_work import Plan, Step
from gb_pipeline_tests.laws.answers import SLOTS, SYMBOLS
from gb_pipeline_tests.laws.model import MICROSECOND, Content, Key, Model, Series, Version, fingerprint

REPOSITORY = Path(__file__).resolve().parents[2]
# Steps that a process takes if nobody kills it.
BATCH = 14


@dataclass(frozen=True)
class End:
    """How a process ended."""

    done: list[int]
    killed: bool
    seconds: float


class KillServer:
    """Starts processes that are killed."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "gb_pipeline_tests.faults.kill_server"]
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPOSITORY
            )
        assert self._answer() == {"ready": True}

    def kill(
        self, root: Path, seed: int, first: int, last: int, *, point: str | None = None, seconds: float | None = None
    ) -> End:
        """Let a process take steps, and kill it at a point or after a time."""
        assert self._process.stdin is not None
        request = {"root": str(root), "seed": seed, "first": first, "last": last, "point": point, "seconds": seconds}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        said = self._answer()
        assert not said["failed"], self._log.read_text(encoding="utf-8")[-6000:]
        return End(said["done"], said["killed"], said["seconds"])

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        assert self._process.wait(60) == 0, self._log.read_text(encoding="utf-8")[-6000:]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text(encoding="utf-8")[-6000:]
        return json.loads(line)


@contextmanager
def kill_server(folder: Path) -> Iterator[KillServer]:
    server = KillServer(folder / "kills.log")
    try:
        yield server
    finally:
        server.close()


@dataclass
class Suspect:
    """A lake on which processes are killed, and what must be in it."""

    root: Path
    seed: int
    model: Model = field(default_factory=Model)
    next: int = 0
    # Refusals of the step that was cut off.
    doubtful: set[tuple[object, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plan = Plan(self.seed)

    @property
    def store(self) -> LakeStore:
        """The lake as another process sees it."""
        return LakeStore.at(self.root)

    def attempt(self, server: KillServer, *, point: str | None = None, seconds: float | None = None) -> End:
        """Let a process go on where the last one was killed, kill it, and look at what is left."""
        end = server.kill(self.root, self.seed, self.next, self.next + BATCH, point=point, seconds=seconds)
        assert end.done == list(range(self.next, self.next + len(end.done)))
        self.look(len(end.done), cut_off=end.killed)
        return end

    def look(self, done: int, *, cut_off: bool) -> None:
        """Compare the lake with the model after so many more steps.

        Args:
            done: steps that were acknowledged.
            cut_off: whether the next one was begun: it counts as a whole or not at all, and is to be taken again.
        """
        found = stored(self.store)
        self.doubtful = set()
        for number in range(self.next, self.next + done):
            self._follow(self.plan[number], found, sure=True)
        self.next += done
        if cut_off:
            self._follow(self.plan[self.next], found, sure=False)
        self._expect(found)

    def _follow(self, step: Step, found: dict[Key, list[Version]], *, sure: bool) -> None:
        """Take over a step into the model, with the moment that the lake gave it."""
        if step.what != "write":
            return
        before = set(self.model.refused)
        outcome = self.model.decide(step.series, step.slots, step.answer, step.fetched_at, "standard")
        if not sure:
            self.doubtful = self.model.refused - before
            self.model.refused = before
        there = [len(found.get(key, [])) > len(self.model.versions[key]) for key in outcome.changes]
        if not outcome.changes or not (sure or any(there)):
            return
        assert all(there), f"step {step.number} is there in part"
        stamps = {found[key][len(self.model.versions[key])].known_at for key in outcome.changes}
        assert len(stamps) == 1, f"step {step.number} was stamped with several moments"
        (stamp,) = stamps
        assert stamp > max(
            (versions[-1].known_at for versions in self._of(step.resolution)),
            default=datetime.min.replace(tzinfo=stamp.tzinfo),
        )
        assert stamp >= step.now
        self.model.commit(outcome, step.fetched_at, stamp)
        for series in step.series:
            for slot in step.slots:
                self.model.precision[series, slot.date()] = "standard"

    def _of(self, resolution: str) -> list[list[Version]]:
        return [
            versions
            for (series, _), versions in self.model.versions.items()
            if series.resolution == resolution and versions
        ]

    def _expect(self, found: dict[Key, list[Version]]) -> None:
        assert found == {key: versions for key, versions in self.model.versions.items() if versions}
        self._expect_ledger()
        self._expect_quarantine()

    def _expect_ledger(self) -> None:
        said = ledger.current(self.store.tables)
        said = said.with_columns(fingerprint_text(said["fingerprint"]))
        rows = {
            (Series(row["symbol"], row["resolution"]), row["session"]): (
                row["actual"],
                row["withdrawn"],
                row["fingerprint"],
            )
            for row in said.iter_rows(named=True)
        }
        wanted = dict.fromkeys(rows, (0, 0, None))
        for series, session in self.model.precision:
            held = {
                slot: versions[-1]
                for (one, slot), versions in self.model.versions.items()
                if one == series and slot.date() == session and versions
            }
            gone = sum(version.withdrawn for version in held.values())
            wanted[series, session] = len(held), gone, fingerprint(series, session, "standard", held)
        assert rows == wanted

    def _expect_quarantine(self) -> None:
        rows = quarantine.read(self.store.tables)
        assert rows["row_id"].is_unique().all()
        there = Counter(
            (
                row["symbol"],
                row["resolution"],
                row["timestamp"],
                "late" if row["reasons"] == ["fetched_before_stored"] else "bad",
            )
            for row in rows.iter_rows(named=True)
        )
        sure = _counted(self.model.refused)
        perhaps = _counted(self.model.refused | self.doubtful)
        assert not sure - there
        assert not there - perhaps

    def expect_whole(self) -> None:
        """Everything that a user can look at agrees, and nothing is left over that no version needs."""
        report = verify(self.store)
        assert report.ok, report.damages
        made = refresh_catalog(self.store)
        assert not made.unreadable
        connection = open_catalog(self.store.storage.catalog)
        try:
            counted = dict(
                connection.execute("select resolution, sum(record_count) from symbol_data group by 1").fetchall()
            )
            through_view = connection.execute("select count(*) from bars_1m").fetchone()
        finally:
            connection.close()
        for resolution in SLOTS:
            current = sum(len(versions) > 0 for versions in self._of(resolution))
            assert counted.get(resolution, 0) == current
            elsewhere = pl.read_delta(self.store.storage.table(f"bars_{resolution}"))
            assert elsewhere.height == sum(len(versions) for versions in self._of(resolution))
        assert through_view == (len(self._of("1m")),)
        self._expect_past()

    def _expect_past(self) -> None:
        """Moments along the whole history, and the instants before them, read what was known then."""
        lake = Lake(self.store)
        for resolution in SLOTS:
            moments = sorted({version.known_at for versions in self._of(resolution) for version in versions})
            for moment in moments[1 :: max(1, len(moments) // 8)]:
                for then in (moment - MICROSECOND, moment):
                    rows = lake.bars(None, resolution, columns=["symbol", "timestamp", *CONTENT], as_of=then)
                    read = {(row[0], row[1]): Content(*row[2:]) for row in rows.iter_rows()}
                    assert read == {
                        (symbol, slot): version.content
                        for symbol in SYMBOLS
                        for slot, version in self.model.as_of(Series(symbol, resolution), then).items()
                    }

    def expect_no_leftovers(self) -> None:
        """After a vacuum only what the newest versions name is there."""
        tables = self.store.tables
        for found in tables.existing():
            root = Path(tables.storage.table(found.dataset.name))
            there = {str(path.relative_to(root)) for path in root.rglob("*.parquet") if "_delta_log" not in path.parts}
            assert there == set(found.files["path"])
        assert not list(self.root.rglob("*.tmp"))


def stored(store: LakeStore, precision: Precision = Precision.STANDARD) -> dict[Key, list[Version]]:
    """Every version of every bar of a precision, straight from the files; that one ends when the next begins is asserted."""
    found: dict[Key, list[Version]] = {}
    for resolution in SLOTS:
        snapshot = store.tables.newest(bars_dataset(Resolution(resolution), precision).name)
        rows = reading.read(store.storage, snapshot.dataset, snapshot.files).sort("symbol", "timestamp", "known_at")
        after = pl.col("known_at").shift(-1).over("symbol", "timestamp")
        assert rows.filter(pl.col("superseded_at").ne_missing(after)).is_empty()
        assert rows.filter(pl.col("superseded_at").is_null() != pl.col("is_current")).is_empty()
        for row in rows.iter_rows(named=True):
            key = Series(row["symbol"], resolution), row["timestamp"]
            content = Content(*(row[name] for name in CONTENT))
            version = Version(content, bool(row["withdrawn"]), row["fetched_at"], row["known_at"])
            found.setdefault(key, []).append(version)
    assert {series.symbol for series, _ in found} <= set(SYMBOLS)
    return found


def _counted(refused: set[tuple[object, ...]]) -> Counter[tuple[object, ...]]:
    counted: Counter[tuple[object, ...]] = Counter()
    for (series, slot), kind, *_ in refused:  # type: ignore[misc]
        counted[series.symbol, series.resolution, slot, kind] += 1
    return counted
