"""What the lake would hold if all kept answers were read today.

Belongs here: from kept answers to the rows that should be stored, the differences, and putting them right.
Does not belong here: reading one answer (`stored_responses`).

Of several answers with one bar the newest holds, as it did when they came; one that a newer answer lacks is withdrawn. Where
a newer answer was not kept, older ones prove nothing: such times are left alone and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import reduce

import polars as pl

from gb_pipeline.adjustment.split_timeline import split_periods
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.ingest.job import Chunk, Job, chunk_jobs
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.fetches import FetchOutcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window, window_files
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, RECEIVED, Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.provenance.stored_responses import StoredResponse, answers, read_again, validated
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider

# Differences that are told one by one; the rest is counted.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A bar that is not stored as the kept answers have it.

    Attributes:
        symbol: canonical code.
        timestamp: the bar's open.
        kind: `changed`; `missing`, which is in an answer but not stored; `unexplained`, which is stored but in no answer.
        stored: content that is stored and `withdrawn` (True, or None), None where it is missing.
        kept: the same as the answers have it, None where it is unexplained.
    """

    symbol: str
    timestamp: datetime
    kind: str
    stored: dict[str, object] | None
    kept: dict[str, object] | None


@dataclass(slots=True)
class Replayed:
    """What came of one symbol.

    Attributes:
        symbol: canonical code.
        start: first session.
        end: date, exclusive.
        answers: kept answers that were read again.
        rows: good rows of them, each bar once.
        changed, missing, unexplained: how many bars differ, by kind of `Difference`.
        examples: the first of them.
        unkept: answers with rows of which nothing was kept.
        problems: answers that could not be read or stored again, and why.
        restated: bars whose content was put right.
        written: rows of the answers that were not stored so before.
    """

    symbol: str
    start: date
    end: date
    answers: int = 0
    rows: int = 0
    changed: int = 0
    missing: int = 0
    unexplained: int = 0
    examples: list[Difference] = field(default_factory=list)
    unkept: int = 0
    problems: list[GbError] = field(default_factory=list)
    restated: int = 0
    written: int = 0

    @property
    def differences(self) -> int:
        """Of all kinds."""
        return self.changed + self.missing + self.unexplained


def replay(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider | None = None,
    write: bool = False,
    run_id: str | None = None,
    on_done: Callable[[Replayed], None] | None = None,
) -> list[Replayed]:
    """Read kept answers again, compare with what is stored, and with `write` store what differs.

    No request is made. What is written goes the way of a fetch: changed bars become restatements, `known_at` is now, and what a
    later answer brought is never replaced. Bars that no kept answer explains stay: a lake forgets nothing.

    Args:
        store: the lake.
        source: whose answers, and how they are judged.
        resolution: of the bars.
        jobs: symbols and ranges of sessions.
        provider: instead of the one that the settings name.
        write: whether differences are put right; `changed` and `missing` then say what was found before.
        run_id: kept with what is refused.
        on_done: called after each job.

    Returns:
        One per job, in the order of the jobs.

    Raises:
        ConfigError: the source's provider or calendar cannot be built.
        LakeError: the lake cannot be written.
    """
    reader = provider or build_provider(source)
    rules = source.rules(resolution)
    done = []
    try:
        for job in jobs:
            found = Replayed(job.symbol.code, job.start, job.end)
            window = rules.calendar.window(job.start, job.end, resolution)
            asked = answers(store.tables, source.name, resolution, [job.symbol.code], window)
            for part in chunk_jobs([job], rules):
                _Part(store, source, resolution, part, reader, found, asked).replay(write=write, run_id=run_id)
            done.append(found)
            if on_done is not None:
                on_done(found)
    finally:
        if provider is None:
            asyncio.run(reader.aclose())
    return done


@dataclass(frozen=True, slots=True)
class _Winner:
    """An answer and what of it still counts.

    Attributes:
        received: its rows of which no newer answer speaks, and those of `good`.
        good: the good bars that no newer answer has, `gone` where one lacks them.
        newer: the windows of newer answers, whether they can be read or not.
    """

    answer: StoredResponse
    received: pl.DataFrame
    good: pl.DataFrame
    newer: tuple[Window, ...]


class _Part:
    """Some weeks of one symbol: what memory holds at once."""

    def __init__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        part: Chunk,
        provider: Provider,
        found: Replayed,
        asked: list[StoredResponse],
    ) -> None:
        self.store, self.source, self.resolution, self.part = store, source, resolution, part
        self.provider, self.found = provider, found
        self.rules = replace(source.rules(resolution), adjustment=provider.adjustment)
        self.window = self.rules.calendar.window(part.start, part.end, resolution)
        self.asked = [one for one in asked if _overlap(one.window, self.window)]
        self.seen: list[Window] = []
        self.blind: list[Window] = []
        # For each window of `seen`, the bars that its answer has and that are refused: these it has not withdrawn.
        self.refused: list[pl.Series] = []

    def replay(self, *, write: bool, run_id: str | None) -> None:
        won = self._winners()
        if not won:
            return
        good = pl.concat([winner.good for winner in won])
        differs = self._compare(good, self._stored())
        if write and len(differs):
            wrong = [winner.good["timestamp"].is_in(differs.implode()).any() for winner in won]
            gone = good.filter("gone")["timestamp"]
            # Oldest first, as they came; newer ones that differ in nothing say what has gone since.
            oldest = max(number for number, differing in enumerate(wrong) if differing)
            for number in range(oldest, -1, -1):
                if self._of_today(won[number].answer, tell=wrong[number]):
                    self._write(won[number], gone, run_id)

    def _winners(self) -> list[_Winner]:
        """Newest first."""
        won: list[_Winner] = []
        known: set[tuple[tuple[str, ...], Window]] = set()
        taken = pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
        for answer in reversed(self.asked):
            if not answer.raw and answer.outcome == FetchOutcome.OK.value:
                self.found.unkept += 1
                self.blind.append(answer.window)
                continue
            if (answer.raw, answer.window) in known:
                continue
            known.add((answer.raw, answer.window))
            try:
                frame = self._read(answer)
                verdict = validated(frame, self.rules, answer)
            except GbError as error:
                self.found.problems.append(error)
                self.blind.append(answer.window)
                continue
            good = verdict.good.filter(_inside([self.window]) & ~_inside(self.blind))
            good = good.join(taken, on="timestamp", how="anti").with_columns(self._lacked().alias("gone"))
            taken = pl.concat([taken, good.select("timestamp")])
            newer = (*self.seen, *self.blind)
            won.append(_Winner(answer, self._unsaid(frame, answer, good), good, newer))
            self.seen.append(answer.window)
            self.refused.append(verdict.bad["timestamp"].drop_nulls().unique())
            self.found.answers += 1 if answer.raw else 0
            self.found.rows += good.height
        return won

    def _read(self, answer: StoredResponse) -> pl.DataFrame:
        if not answer.raw:
            # Nothing was kept, and nothing has to be: that it was empty is all it said.
            return pl.DataFrame(schema=RECEIVED)
        return read_again(self.store, self.provider, self.part.symbol, self.resolution, answer)

    def _unsaid(self, frame: pl.DataFrame, answer: StoredResponse, good: pl.DataFrame) -> pl.DataFrame:
        """Its good rows, and whatever else it says about times of which no newer answer speaks: refused rows count."""
        newer = [*self.seen, *self.blind]
        alone = not any(_overlap(answer.window, window) for window in newer)
        unreadable = pl.col("timestamp").is_null() & pl.lit(alone)
        mine = pl.col("timestamp").is_in(good["timestamp"].implode()) | (_inside([self.window]) & ~_inside(newer))
        return frame.filter(unreadable | mine.fill_null(False))

    def _lacked(self) -> pl.Expr:
        """Whether a newer answer speaks of this time and neither has such a bar nor had it refused."""
        moment = pl.col("timestamp")
        lacked = [
            _inside([window]) & ~moment.is_in(refused.implode())
            for window, refused in zip(self.seen, self.refused, strict=True)
        ]
        return reduce(lambda left, right: left | right, lacked, pl.lit(False))

    def _stored(self) -> pl.DataFrame:
        tables, source, symbols = self.store.tables, self.source.name, [self.part.symbol.code]
        newest = tables.newest(bars_dataset(self.resolution, self.rules.precision).name)
        files = window_files(newest, source, symbols, self.window)
        return read_window(tables, newest, files, source, symbols, self.window)

    def _compare(self, good: pl.DataFrame, stored: pl.DataFrame) -> pl.Series:
        """Count and keep examples; the timestamps of bars that writing would put right."""
        here, there = pl.col("here").fill_null(False), pl.col("there").fill_null(False)
        both = good.select("timestamp", *CONTENT, _true("gone", "withdrawn"), pl.lit(True).alias("here")).join(
            stored.select("timestamp", *CONTENT, _true("withdrawn", "withdrawn"), pl.lit(True).alias("there")),
            on="timestamp",
            how="full",
            coalesce=True,
            suffix="_stored",
        )
        said = (*CONTENT, "withdrawn")
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in said)
        kind = (
            pl.when(here & there & ~same).then(pl.lit("changed")).when(here & ~there).then(pl.lit("missing"))
            .when(~here & there & _inside(self.seen) & ~_inside(self.blind)).then(pl.lit("unexplained"))
        )  # fmt: skip
        differ = both.with_columns(kind.alias("kind")).filter(pl.col("kind").is_not_null()).sort("timestamp")
        for name, count in differ.group_by("kind").len().iter_rows():
            setattr(self.found, name, getattr(self.found, name) + count)
        for row in differ.head(SHOWN - len(self.found.examples)).iter_rows(named=True):
            kept = {name: row[name] for name in said} if row["here"] else None
            held = {name: row[f"{name}_stored"] for name in said} if row["there"] else None
            code = self.part.symbol.code
            self.found.examples.append(Difference(code, row["timestamp"], row["kind"], held, kept))
        return differ.filter(pl.col("kind") != "unexplained")["timestamp"]

    def _write(self, winner: _Winner, gone: pl.Series, run_id: str | None) -> None:
        asked = winner.answer.window
        window = Window(max(asked.start, self.window.start), min(asked.end, self.window.end))
        code = self.part.symbol.code
        report = self.store.write_bars(
            self.source.name,
            [self.part.symbol],
            self.resolution,
            window,
            self._said(winner, gone).with_columns(pl.lit(code).alias("symbol")),
            rules=self.rules,
            # What was open when the vendor was asked is open in its answer, however late that is written.
            fetched_at=winner.answer.fetched_at,
            run_id=run_id,
            listings={code: self.source.listing(self.part.symbol)},
        )
        self.found.restated += report.restated
        self.found.written += report.stored - report.unchanged
        if report.late:
            self.found.problems.append(
                LakeError(
                    f"{code} {asked}: {report.late} bars that differ were stored by a later question than this answer's",
                    fix="fetch it again: what the vendor says now holds",
                )
            )

    def _said(self, winner: _Winner, gone: pl.Series) -> pl.DataFrame:
        """What is written of an answer: its rows, and where newer ones speak what is stored, which it has no say about."""
        stamp = pl.col("timestamp")
        others = self._stored().filter(
            ~pl.col("withdrawn").fill_null(False)
            & _inside(winner.newer)
            & ~stamp.is_in(winner.received["timestamp"].drop_nulls().implode())
            & ~stamp.is_in(gone.implode())
        )
        # A column that the answer has not would change the text of its refused rows, which are told apart by it.
        names = [name for name in CONTENT if name in winner.received.columns or others[name].count()]
        return pl.concat([winner.received, others.select(stamp, pl.col(names).cast(pl.String))], how="diagonal")

    def _of_today(self, answer: StoredResponse, *, tell: bool) -> bool:
        """Whether an answer may be stored now: prices of before a split may not; that is a problem where they differ."""
        if self.rules.adjustment is not Adjustment.SPLIT or (day := self._split_since(answer)) is None:
            return True
        if tell:
            self.found.problems.append(
                LakeError(
                    f"{self.part.symbol.code} {answer.window}: what was kept is of before the split of {day}",
                    fix="fetch it again instead: the vendor's prices have the split",
                )
            )
        return False

    def _split_since(self, answer: StoredResponse) -> date | None:
        """Ex date of a split that changed these prices at the vendor after this answer."""
        code = self.part.symbol.code
        periods = split_periods(self.store.tables, self.source.name, [code]).get(code, ())
        since = [item.ex_date for item in periods if any(edge.latest > answer.fetched_at for edge in item.edges)]
        return next((day for day in since if answer.window.start.date() < day), None)


def _true(flag: str, name: str) -> pl.Expr:
    """A flag under a name, True or null."""
    return pl.when(flag).then(pl.lit(True)).alias(name)


def _overlap(one: Window, other: Window) -> bool:
    return one.start < other.end and other.start < one.end


def _inside(windows: Sequence[Window]) -> pl.Expr:
    moment = pl.col("timestamp")
    inside = [(moment >= window.start) & (moment < window.end) for window in windows]
    return reduce(lambda left, right: left | right, inside, pl.lit(False))
