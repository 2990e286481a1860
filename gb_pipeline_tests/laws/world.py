"""A lake and its model side by side, and the steps that are taken in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.config.cache import NO_CACHE, CacheOptions
from gb_pipeline.errors import ConfigError, LakeError, NoDataInRange, UnknownSeries
from gb_pipeline.lake import quarantine, versions
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.laws.answers import BAD, LENGTHS, SLOTS, SYMBOLS, answer_frame, content
from gb_pipeline_tests.laws.model import MICROSECOND, SOURCE, Content, Key, Model, Series, Version, fingerprint

_COPIED = ["symbol", "timestamp", *CONTENT, "withdrawn", "fetched_at", "known_at"]


@dataclass
class Clock:
    """The present, as the test wants it."""

    now: datetime = datetime(2024, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Write:
    """An answer for some symbols and a range of slots; codes by symbol and slot, absent where the vendor has no bar."""

    resolution: str
    symbols: tuple[str, ...]
    first: int
    last: int
    codes: dict[tuple[str, int], int]
    late: int | None = None
    whole: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Again:
    """The vendor says what it said at an earlier moment: the newest (0), or one further back."""

    resolution: str
    back: int


@dataclass(frozen=True)
class Fail:
    """A fetch that failed."""

    resolution: str
    symbols: tuple[str, ...]


@dataclass(frozen=True)
class Compact:
    """Rewrite a partition: the first, second, ... of those that there are."""

    number: int


@dataclass(frozen=True)
class Upkeep:
    """Remove files that no version needs, write checkpoints, or look at the lake as another process does."""

    what: str


@dataclass(frozen=True)
class Tick:
    """The clock goes on, stands still or jumps back."""

    by: timedelta


@dataclass(frozen=True)
class Correct:
    """Override the volume of a bar, of those that there are, or take that back (None)."""

    resolution: str
    number: int
    volume: str | None


@dataclass(frozen=True)
class Delete:
    """Delete a series, or its last session."""

    resolution: str
    symbol: str
    last_session: bool


Step = Write | Again | Fail | Compact | Upkeep | Tick | Correct | Delete


@dataclass
class Copy:
    """Everything that the lake answered about a resolution at a moment."""

    moment: datetime
    bars: pl.DataFrame
    coverage: pl.DataFrame
    # Where what came next took two entries, the end of what held before both.
    until: datetime | None = None


@dataclass
class World:
    """Takes steps, and asserts after each that lake and model agree."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    model: Model = field(default_factory=Model)
    copies: dict[str, list[Copy]] = field(default_factory=lambda: {kind: [] for kind in SLOTS})
    fetches: list[datetime] = field(default_factory=list)
    wide: set[Series] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.store = LakeStore.at(self.root, clock=self.clock)
        # Keeps answers in memory and in files, whatever others do to the lake.
        self.reader = Lake(LakeStore.at(self.root, clock=self.clock), cache=CacheOptions(1, disk=True, disk_mb=0.5))

    def take(self, step: Step) -> None:
        """One step, and what must hold after it."""
        match step:
            case Write():
                self._write(step)
            case Again():
                self._again(step)
            case Fail():
                self._fail(step)
            case Compact():
                self._compact(step.number)
            case Upkeep():
                self._upkeep(step.what)
            case Tick():
                self.clock.now += step.by
            case Correct():
                self._correct(step)
            case Delete():
                self._delete(step)
        if not isinstance(step, Tick):
            self._expect_newest()

    # --- steps --------------------------------------------------------------------------------------------------------

    def _write(self, step: Write) -> None:
        slots = SLOTS[step.resolution]
        window = Window(slots[step.first], slots[step.last] + LENGTHS[step.resolution])
        if step.whole:
            window = Window.of(window.start.date(), (window.end - MICROSECOND).date() + timedelta(days=1))
        fetched_at = (
            self.clock() if step.late is None or not self.fetches else self.fetches[step.late % len(self.fetches)]
        )
        precision = "wide" if step.wide else "standard"
        if not step.wide and self._is_wide(step.resolution, step.symbols):
            with pytest.raises(LakeError, match="wide precision"):
                self._send(step, window, {}, fetched_at, "standard")
            precision = "wide"
        answer = {
            (Series(symbol, step.resolution), slots[slot]): None if code == BAD else content(code, precision)
            for (symbol, slot), code in step.codes.items()
            if symbol in step.symbols and slots[slot] in window
        }
        self._send(step, window, answer, fetched_at, precision)

    def _again(self, step: Again) -> None:
        copies = self.copies[step.resolution]
        if not copies:
            return
        moment = copies[-1 - step.back % len(copies)].moment
        answer: dict[Key, Content | None] = {
            (series, slot): version.content
            for series in (Series(symbol, step.resolution) for symbol in SYMBOLS)
            for slot, version in self.model.as_of(series, moment).items()
            if not version.withdrawn
        }
        slots = SLOTS[step.resolution]
        write = Write(step.resolution, SYMBOLS, 0, len(slots) - 1, {})
        precision = "wide" if self._is_wide(step.resolution, SYMBOLS) else "standard"
        window = Window.of(slots[0].date(), slots[-1].date() + timedelta(days=1))
        self._send(write, window, answer, self.clock(), precision)
        # The same words a second time are no news, whatever the clock does.
        before = {found.dataset.name: found.version for found in self.store.tables.existing()}
        report = self._report(write, window, answer, self.clock(), precision)
        after = {found.dataset.name: found.version for found in self.store.tables.existing()}
        assert (report.version, after) == (None, before)

    def _send(
        self,
        step: Write,
        window: Window,
        answer: dict[Key, Content | None],
        fetched_at: datetime,
        precision: str,
    ) -> None:
        before = self._clock_of_tables(step.resolution)
        report = self._report(step, window, answer, fetched_at, precision)
        self.fetches.append(fetched_at)
        series = [Series(symbol, step.resolution) for symbol in step.symbols]
        slots = [slot for slot in SLOTS[step.resolution] if slot in window]
        outcome = self.model.decide(series, slots, answer, fetched_at, precision)
        accounted = report.stored + report.unchanged + report.quarantined + report.duplicates
        assert report.received == accounted == outcome.received
        said = (report.unchanged, report.restated, report.withdrawn, report.late, report.quarantined)
        assert said == (
            outcome.unchanged,
            outcome.restated,
            outcome.withdrawn,
            outcome.late,
            outcome.bad + outcome.late,
        )
        assert (report.version is None) == (outcome.added == 0)
        if precision == "wide":
            self.wide |= {one for one, _ in outcome.changes}
        if report.version is not None:
            stamp = self._stamp(step.resolution, precision)
            assert stamp > before
            assert stamp >= self.clock()
            self.model.commit(outcome, fetched_at, stamp)
        for one in series:
            for session in {stamp.date() for stamp in slots}:
                self.model.precision[one, session] = precision

    def _report(
        self,
        step: Write,
        window: Window,
        answer: dict[Key, Content | None],
        fetched_at: datetime,
        precision: str,
    ):
        kind = Resolution.parse(step.resolution)
        rules = BarRules(resolution=kind, precision=Precision(precision), max_bad_fraction=1.0)
        return self.store.write_bars(
            SOURCE, list(step.symbols), kind, window, answer_frame(answer), rules=rules, fetched_at=fetched_at
        )

    def _fail(self, step: Fail) -> None:
        slots = SLOTS[step.resolution]
        rules = BarRules(
            resolution=Resolution.parse(step.resolution),
            precision=Precision.WIDE if self._is_wide(step.resolution, step.symbols) else Precision.STANDARD,
        )
        self.store.record_failure(
            SOURCE, list(step.symbols), Window(slots[0], slots[-1] + LENGTHS[step.resolution]), rules=rules
        )

    def _compact(self, number: int) -> None:
        found = self.store.compaction_candidates(min_files=2)
        if found:
            (report,) = self.store.compact(found[number % len(found)])
            assert (report.files_after, report.version is None) == (1, False)

    def _upkeep(self, what: str) -> None:
        if what == "vacuum":
            later = datetime.now(UTC) + timedelta(days=60)
            self.store.vacuum(retention=timedelta(hours=1), dry_run=False, now=later)
        elif what == "checkpoint":
            for found in list(self.store.tables.existing()):
                if found.version > 0:
                    self.store.tables[found.dataset.name].checkpoint()
        self.store = LakeStore.at(self.root, clock=self.clock)

    def _correct(self, step: Correct) -> None:
        keys = [key for key in self.model.held() if key[0].resolution == step.resolution]
        if not keys:
            return
        key = series, slot = sorted(keys, key=str)[step.number % len(keys)]
        held, before = self.model.versions[key][-1], self.model.corrections.get(key)
        wanted = None if step.volume is None else replace(held.content, volume=Decimal(step.volume))
        kind = Resolution.parse(step.resolution)
        values = None if step.volume is None else {"volume": step.volume}

        def override() -> WriteReport:
            return self.store.override(
                SOURCE, series.symbol, kind, slot, values, "a bad tick", rules=BarRules(resolution=kind)
            )

        if wanted == held.content or (wanted is None and before is None):
            with pytest.raises(ConfigError, match="is not corrected" if wanted is None else "has these values already"):
                override()
            return
        report = override()
        assert report.version is not None, "even where the bar stays as it is, the entry names the override"
        precision = "wide" if series in self.wide else "standard"
        self.model.precision[series, slot.date()] = precision
        stamp = self._stamp(step.resolution, precision)
        row = Lake(self.store).bars(series.symbol, kind, slot, slot + MICROSECOND, source=SOURCE, columns=_COPIED)
        assert row["fetched_at"].item() >= held.fetched_at
        self.model.correct(key, wanted, row["fetched_at"].item(), stamp)

    def _delete(self, step: Delete) -> None:
        series = Series(step.symbol, step.resolution)
        since = SLOTS[step.resolution][-1].date() if step.last_session else None
        kept = [key for key in self.model.held() if key[0] == series]
        gone = sum(since is None or slot.date() >= since for _, slot in kept)

        def delete() -> pl.DataFrame:
            return self.store.delete(SOURCE, step.symbol, step.resolution, since, reason="a test")

        if not gone:
            with pytest.raises((ConfigError, UnknownSeries)):
                delete()
            return
        told = delete()
        first = self._stamp(step.resolution, str(told["precision"][0]))
        assert told["bars"].sum() == gone == self.model.remove(series, since, first)
        if told.height > 1:
            self.copies[step.resolution][-1].until = first - MICROSECOND

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _expect_newest(self) -> None:
        for kind, copies in self.copies.items():
            copy = Copy(self._clock_of_tables(kind), self._bars(kind, None), self._coverage(kind, None))
            self._expect_rows(kind, copy.bars, copy.moment)
            self._expect_coverage(kind, copy.coverage, copy.moment)
            if copies and copies[-1].moment == copy.moment:
                assert _same(copies[-1], copy)
            else:
                copies.append(copy)

    def expect_past(self) -> None:
        """Every copy is what the lake says today about its moment, and until the next one."""
        for kind, copies in self.copies.items():
            for number, copy in enumerate(copies):
                until = copies[number + 1].moment - MICROSECOND if number + 1 < len(copies) else copy.moment
                until = copy.until or until
                for moment in {copy.moment, until}:
                    assert _same(Copy(moment, self._bars(kind, moment), self._coverage(kind, moment)), copy), moment
        refused = quarantine.read(self.store.tables)
        assert (refused.height, refused["row_id"].n_unique()) == (len(self.model.refused),) * 2
        assert versions.restatements(self.store.tables).height == self.model.restatements()

    def _expect_rows(self, kind: str, frame: pl.DataFrame, moment: datetime) -> None:
        for symbol in SYMBOLS:
            wanted = self.model.as_of(Series(symbol, kind), moment)
            found = {
                row["timestamp"]: Version(
                    Content(*(row[name] for name in CONTENT)),
                    bool(row["withdrawn"]),
                    row["fetched_at"],
                    row["known_at"],
                )
                for row in frame.filter(pl.col("symbol") == symbol).iter_rows(named=True)
            }
            assert found == wanted

    def _expect_coverage(self, kind: str, frame: pl.DataFrame, moment: datetime) -> None:
        found = {(row["symbol"], row["session"]): row for row in frame.iter_rows(named=True)}
        wanted: dict[tuple[str, date], tuple[int, int, str | None]] = {}
        for (series, session), precision in self.model.precision.items():
            if series.resolution != kind:
                continue
            rows = {
                slot: version for slot, version in self.model.as_of(series, moment).items() if slot.date() == session
            }
            wanted[series.symbol, session] = (
                len(rows),
                sum(version.withdrawn for version in rows.values()),
                fingerprint(series, session, precision, rows),
            )
        for key, said in wanted.items():
            row = found[key]
            assert (row["actual"], row["withdrawn"], row["fingerprint"]) == said
        assert all(row["actual"] == 0 for key, row in found.items() if key not in wanted)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _bars(self, kind: str, moment: datetime | None) -> pl.DataFrame:
        uncached = self._ask(Lake(self.store, cache=NO_CACHE), kind, moment)
        for _ in range(2):
            assert self._ask(self.reader, kind, moment).equals(uncached)
        # Another process, which has the files alone.
        other = Lake(LakeStore.at(self.root, clock=self.clock), cache=self.reader.cache.options)
        assert self._ask(other, kind, moment).equals(uncached)
        return uncached

    @staticmethod
    def _ask(lake: Lake, kind: str, moment: datetime | None) -> pl.DataFrame:
        try:
            return lake.bars(None, kind, source=SOURCE, columns=_COPIED, as_of=moment)
        except (NoDataInRange, UnknownSeries):
            return pl.DataFrame(schema=dict.fromkeys(_COPIED, pl.Null()))

    def _coverage(self, kind: str, moment: datetime | None) -> pl.DataFrame:
        return Lake(self.store).coverage(resolution=kind, as_of=moment)

    def _is_wide(self, resolution: str, symbols: Sequence[str]) -> bool:
        return any(Series(symbol, resolution) in self.wide for symbol in symbols)

    def _stamp(self, resolution: str, precision: str) -> datetime:
        name = f"bars_{resolution}" + ("_wide" if precision == "wide" else "")
        return _moment(self.store.tables.newest(name).clock)

    def _clock_of_tables(self, resolution: str) -> datetime:
        names = {f"bars_{resolution}", f"bars_{resolution}_wide", "sessions"}
        found = [item.clock for item in self.store.tables.existing() if item.dataset.name in names]
        return _moment(max(found, default=0))


def _moment(clock: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + clock * MICROSECOND


def _same(found: Copy, copy: Copy) -> bool:
    return _equal(found.bars, copy.bars) and _equal(found.coverage, copy.coverage)


def _equal(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """The same rows; what was stored before a series went wide has more digits today, all zero."""
    if one.is_empty() or other.is_empty():
        return one.height == other.height
    return _rows(one) == _rows(other)


def _rows(frame: pl.DataFrame) -> Sequence[tuple[object, ...]]:
    return frame.rows()
