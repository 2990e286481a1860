"""What the lake would hold if all kept answers were read today.

Belongs here: from kept answers to the rows that should be stored, the differences, and putting them right.
Does not belong here: reading one answer (`kept`).

Of several answers with one bar the newest holds, as it did when they came. Where a newer answer was not kept, older ones
prove nothing: such times are left alone and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import reduce

import polars as pl

from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.ingest.job import Job, Part, cut
from gb_pipeline.ingest.kept import Answer, answers, judged, read_again
from gb_pipeline.lake.basis import split_periods
from gb_pipeline.lake.fetches import FetchOutcome
from gb_pipeline.lake.specs import bar_spec
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import COLUMNS, read_window
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Adjustment, bar_schema, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.settings import SourceSettings

# Differences that are told one by one; the rest is counted.
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A bar that is not stored as the kept answers have it.

    Attributes:
        symbol: canonical code.
        timestamp: the bar's open.
        kind: `changed`; `missing`, which is in an answer but not stored; `unexplained`, which is stored but in no answer.
        stored: content that is stored, None where it is missing.
        kept: content that the answer has, None where it is unexplained.
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
        end: first session without.
        answers: kept answers that were read again.
        rows: good rows of them, each bar once.
        changed, missing, unexplained: how many bars differ, by kind of `Difference`.
        examples: the first of them.
        unkept: answers with rows of which nothing was kept.
        problems: answers that could not be read again, and why.
        restated: bars whose content was put right.
        written: rows of the answers that were stored again.
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

    No request is made. What is written goes the way of a fetch: changed bars become restatements, `known_at` is now. Bars
    that no kept answer explains stay: a lake forgets nothing.

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
            for part in cut([job], rules):
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
    """An answer, the rows of it that no newer answer speaks of, and the good bars that no newer answer has."""

    answer: Answer
    received: pl.DataFrame
    good: pl.DataFrame


class _Part:
    """Some weeks of one symbol: what memory holds at once."""

    def __init__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        part: Part,
        provider: Provider,
        found: Replayed,
        asked: list[Answer],
    ) -> None:
        self.store, self.source, self.resolution, self.part = store, source, resolution, part
        self.provider, self.found = provider, found
        self.rules = replace(source.rules(resolution), adjustment=provider.adjustment)
        self.window = self.rules.calendar.window(part.start, part.end, resolution)
        self.asked = [one for one in asked if _overlap(one.window, self.window)]
        self.seen: list[Window] = []
        self.blind: list[Window] = []

    def replay(self, *, write: bool, run_id: str | None) -> None:
        won = self._winners()
        if not won:
            return
        good = pl.concat([winner.good for winner in won])
        differs = self._compare(good, self._stored())
        if write and differs.height:
            # Oldest first, as they came.
            for winner in reversed(won):
                if winner.good.join(differs, on="timestamp", how="semi").height:
                    self._write(winner, run_id)

    def _winners(self) -> list[_Winner]:
        """Newest first."""
        won: list[_Winner] = []
        known: set[tuple[tuple[str, ...], Window]] = set()
        taken = pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
        for answer in reversed(self.asked):
            if not answer.raw:
                if answer.outcome == FetchOutcome.OK.value:
                    self.found.unkept += 1
                    self.blind.append(answer.window)
                continue
            if (answer.raw, answer.window) in known:
                continue
            known.add((answer.raw, answer.window))
            try:
                frame = read_again(self.store, self.provider, self.part.symbol, self.resolution, answer)
                verdict = judged(frame, self.rules, answer)
            except GbError as error:
                self.found.problems.append(error)
                self.blind.append(answer.window)
                continue
            good = verdict.good.filter(_inside([self.window]) & ~_inside(self.blind))
            good = good.join(taken, on="timestamp", how="anti")
            taken = pl.concat([taken, good.select("timestamp")])
            won.append(_Winner(answer, self._unsaid(frame, answer, good), good))
            self.seen.append(answer.window)
            self.found.answers += 1
            self.found.rows += good.height
        return won

    def _unsaid(self, frame: pl.DataFrame, answer: Answer, good: pl.DataFrame) -> pl.DataFrame:
        """Its good rows, and whatever else it says about times of which no newer answer speaks: refused rows count."""
        newer = [*self.seen, *self.blind]
        alone = not any(_overlap(answer.window, window) for window in newer)
        unreadable = pl.col("timestamp").is_null() & pl.lit(alone)
        mine = pl.col("timestamp").is_in(good["timestamp"].implode()) | (_inside([self.window]) & ~_inside(newer))
        return frame.filter(unreadable | mine.fill_null(False))

    def _stored(self) -> pl.DataFrame:
        spec = bar_spec(self.resolution, self.rules.precision)
        with self.store.tables.open(spec.name) as table:
            if table is None:
                types = polars_schema(bar_schema(self.rules.precision))
                return pl.DataFrame(schema={name: types[name] for name in COLUMNS})
            return read_window(
                self.store.tables,
                table,
                self.source.name,
                self.resolution,
                self.rules.precision,
                [self.part.symbol.code],
                self.window,
            )

    def _compare(self, good: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
        """Count and keep examples; `timestamp` of bars that writing would put right."""
        here, there = pl.col("here").fill_null(False), pl.col("there").fill_null(False)
        both = good.select("timestamp", *CONTENT, pl.lit(True).alias("here")).join(
            stored.select("timestamp", *CONTENT, pl.lit(True).alias("there")),
            on="timestamp",
            how="full",
            coalesce=True,
            suffix="_stored",
        )
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in CONTENT)
        kind = (
            pl.when(here & there & ~same).then(pl.lit("changed")).when(here & ~there).then(pl.lit("missing"))
            .when(~here & there & _inside(self.seen) & ~_inside(self.blind)).then(pl.lit("unexplained"))
        )  # fmt: skip
        differ = both.with_columns(kind.alias("kind")).filter(pl.col("kind").is_not_null()).sort("timestamp")
        for name, count in differ.group_by("kind").len().iter_rows():
            setattr(self.found, name, getattr(self.found, name) + count)
        for row in differ.head(SHOWN - len(self.found.examples)).iter_rows(named=True):
            kept = {name: row[name] for name in CONTENT} if row["here"] else None
            held = {name: row[f"{name}_stored"] for name in CONTENT} if row["there"] else None
            code = self.part.symbol.code
            self.found.examples.append(Difference(code, row["timestamp"], row["kind"], held, kept))
        return differ.filter(pl.col("kind") != "unexplained").select("timestamp")

    def _write(self, winner: _Winner, run_id: str | None) -> None:
        asked = winner.answer.window
        window = Window(max(asked.start, self.window.start), min(asked.end, self.window.end))
        code = self.part.symbol.code
        if self.rules.adjustment is Adjustment.SPLIT and (day := self._split_since(winner.answer)) is not None:
            error = LakeError(
                f"{code} {asked}: what was kept is of before the split of {day}",
                fix="fetch it again instead: the vendor's prices have the split",
            )
            self.found.problems.append(error)
            return
        report = self.store.write_bars(
            self.source.name,
            [self.part.symbol],
            self.resolution,
            window,
            winner.received.with_columns(pl.lit(code).alias("symbol")),
            rules=self.rules,
            known_at=datetime.now(UTC),
            # What was open when the vendor was asked is open in its answer, however late that is written.
            now=winner.answer.fetched_at,
            run_id=run_id,
            listings={code: self.source.listing(self.part.symbol)},
        )
        self.found.restated += report.restated
        self.found.written += report.stored

    def _split_since(self, answer: Answer) -> date | None:
        """Ex date of a split that changed these prices at the vendor after this answer."""
        code = self.part.symbol.code
        periods = split_periods(self.store.tables, self.source.name, [code]).get(code, ())
        since = [item.ex_date for item in periods if any(edge.certain > answer.fetched_at for edge in item.edges)]
        return next((day for day in since if answer.window.start.date() < day), None)


def _overlap(one: Window, other: Window) -> bool:
    return one.start < other.end and other.start < one.end


def _inside(windows: Sequence[Window]) -> pl.Expr:
    moment = pl.col("timestamp")
    inside = [(moment >= window.start) & (moment < window.end) for window in windows]
    return reduce(lambda left, right: left | right, inside, pl.lit(False))
