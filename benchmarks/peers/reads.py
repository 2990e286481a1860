"""The reads that everybody answers: what is stored before, what is asked, and in which state of process and files.

Questions of a warm process differ from sample to sample, so that nobody answers from what it has just read, unless the work is
about hot reads. What a result is held against is said in `lines`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from benchmarks.peers.questions import BARS, EXTENT, HOURS, LATEST, Question
from benchmarks.peers.race import Race, Store
from benchmarks.peers.truth import Truth, daily, minutes, session_minutes

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True)
class ReadScale:
    """How much of everything.

    Attributes:
        symbols, days: of a minute history.
        weeks: how many symbol-weeks are asked for at once.
        listed, years: symbols and years of daily bars.
        session_years: of one symbol's minutes of exchange sessions.
        fragments: days that are kept one by one.
        repeats: how often a short question is asked in one sample.
    """

    symbols: int = 2
    days: int = 365
    weeks: int = 100
    listed: int = 50
    years: int = 10
    session_years: int = 10
    fragments: int = 365
    repeats: int = 10


# Work to the names of its results.
READS = {
    "R1.minutes": ("R1.start", "R1.year", "R1.close", "R1.day", "R1.cross", "R1.latest", "R1.extent", "R1.weeks", "R1.hours"),
    "R2.daily": ("R2.one", "R2.all"),
    "R3.sessions": ("R3.all", "R3.five"),
    "R4.fragments": ("R4.fragments", "R4.compacted"),
}  # fmt: skip


def read_minutes(race: Race, scale: ReadScale) -> None:
    """A history of minutes, in fresh processes and in one that is warm."""
    history = minutes(scale.symbols, scale.days)
    codes = tuple(history.frame["symbol"].unique().sort())
    random = np.random.default_rng(7)

    def ask(kind: str, start_day: int, length: timedelta, symbols: tuple[str, ...] = codes) -> Question:
        start = history.start + DAY * start_day
        return Question(kind, symbols, start, min(start + length, history.end))

    year = Question(BARS, codes[:1], history.start, history.end)
    close = Question(BARS, codes[1:2] or codes, history.start, history.end, ("close",))
    places = random.integers(0, max(scale.days - 7, 1), scale.weeks)
    weeks = [ask(BARS, int(day), WEEK, (codes[number % len(codes)],)) for number, day in enumerate(places)]
    everything = {
        kind: [Question(kind, codes, history.start, history.end)] * scale.repeats for kind in (LATEST, EXTENT)
    }

    def days(symbols: tuple[str, ...]) -> list[Question]:
        return [ask(BARS, int(day), DAY, symbols) for day in random.integers(0, scale.days, scale.repeats)]

    race.load("write", {"history": history})
    with race.stores("write", "1m") as stores:
        for store in stores.values():
            race.time("R1.write", -1, store, "write", ["history"])
            store.close()
        for sample in race.samples():
            for process in race.turns(sample, BARS):
                race.ask_fresh(READS["R1.minutes"][:3], sample, stores[process.name], [year, close], history)
        for store in stores.values():
            store.open("1m")
            race.ask("R1.weeks", -1, store, weeks, history)
        for sample in race.samples():
            questions = {
                "R1.day": days(codes[:1]),
                "R1.cross": days(codes),
                "R1.latest": everything[LATEST],
                "R1.extent": everything[EXTENT],
                "R1.weeks": weeks,
                "R1.hours": [Question(HOURS, codes[:1], history.start, history.end)],
            }
            for work, asked in questions.items():
                _everybody(race, work, sample, stores, asked, history)


def read_days(race: Race, scale: ReadScale) -> None:
    """Daily bars of many symbols: one of them, and all."""
    history = daily(scale.listed, scale.years * 365 + scale.years // 4)
    codes = tuple(history.frame["symbol"].unique().sort())
    race.load("write", {"history": history})
    with race.stores("write", "1d") as stores:
        for store in stores.values():
            race.time("R2.write", -1, store, "write", ["history"])
        for sample in race.samples():
            chosen = [codes[(sample * scale.repeats + place) % len(codes)] for place in range(scale.repeats)]
            one = [Question(BARS, (code,), history.start, history.end) for code in chosen]
            _everybody(race, "R2.one", sample, stores, one, history)
            _everybody(race, "R2.all", sample, stores, [Question(BARS, codes, history.start, history.end)], history)


def read_sessions(race: Race, scale: ReadScale) -> None:
    """Ten years of one symbol's sessions, of which two days are overwritten and three come: all of it, and those five days."""
    history = session_minutes(scale.session_years)
    days = history.weekdays()
    stored = history.until(days[-3])
    changed = [history.day(day).restated(number) for number, day in enumerate(days[-5:-3])]
    added = [history.day(day) for day in days[-3:]]
    truth = history
    for day in changed:
        truth = truth.replaced(day)
    # Whoever keeps a grid of all minutes of the day, or cannot change a day, sits it out.
    race.load("replace", {"stored": stored} | {f"day-{number}": day for number, day in enumerate([*changed, *added])})
    codes = tuple(history.frame["symbol"].unique())
    everything = [Question(BARS, codes, truth.start, truth.end)]
    with race.stores("replace", "1m") as stores:
        for store in stores.values():
            race.time("R3.write", -1, store, "write", ["stored"])
            race.time("R3.write", -1, store, "replace", [f"day-{number}" for number in range(2)])
            race.time("R3.write", -1, store, "append", [f"day-{number}" for number in range(2, 5)])
        start = changed[0].start
        for sample in race.samples():
            five = [Question(BARS, codes, start, truth.end)] * scale.repeats
            _everybody(race, "R3.all", sample, stores, everything, truth, act="replace")
            _everybody(race, "R3.five", sample, stores, five, truth, act="replace")


def read_fragments(race: Race, scale: ReadScale) -> None:
    """A year that was kept day by day: as it lies then, and compacted."""
    history = minutes(1, scale.fragments)
    year = [Question(BARS, ("S000-USD",), history.start, history.end)]
    days = {f"day-{number}": history.days(number) for number in range(scale.fragments)}
    race.load("compact", days)
    with race.stores("compact", "1m") as stores:
        for store in stores.values():
            race.time("R4.write", -1, store, "add_day", list(days))
        for sample in race.samples():
            _everybody(race, "R4.fragments", sample, stores, year, history, act="compact")
        for store in stores.values():
            race.time("R4.write", -1, store, "compact")
        for sample in race.samples():
            _everybody(race, "R4.compacted", sample, stores, year, history, act="compact")


def _everybody(
    race: Race, work: str, sample: int, stores: dict[str, Store], asked: list[Question], truth: Truth, act: str = ""
) -> None:
    for process in race.turns(sample, act or asked[0].kind):
        if asked[0].kind in process.acts:
            race.ask(work, sample, stores[process.name], asked, truth)


READ_WORKS: dict[str, Callable[[Race, ReadScale], None]] = dict(
    zip(READS, (read_minutes, read_days, read_sessions, read_fragments), strict=True)
)
