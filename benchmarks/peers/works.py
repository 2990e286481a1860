"""The works that everybody does: what is stored before, what is timed, and what has to be there afterwards.

What a result is held against is said in `lines`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.peers.race import WARM_UP, Race
from benchmarks.peers.reads import READ_WORKS, ReadScale
from benchmarks.peers.truth import Truth, daily, minutes


@dataclass(frozen=True)
class Scale:
    """How much of everything; the defaults are what targets are stated for.

    Attributes:
        symbols, days: of a minute history.
        many, many_days: symbols of a wide append, and how many days are stored before.
        commits: days that are kept one by one.
        listed, years: symbols and years of daily bars.
        large: symbols of the large daily history.
        compacted: days that are kept one by one before they are compacted.
        reads: of what is read.
    """

    symbols: int = 2
    days: int = 365
    many: int = 500
    many_days: int = 2
    commits: int = 120
    listed: int = 50
    years: int = 10
    large: int = 500
    compacted: int = 365
    reads: ReadScale = field(default_factory=ReadScale)

    @property
    def sessions(self) -> int:
        """Days of the daily history."""
        return self.years * 365 + self.years // 4


def write_minutes(race: Race, scale: Scale) -> None:
    """A history of minutes into an empty store."""
    _write(race, "W1.write", minutes(scale.symbols, scale.days))


def write_days(race: Race, scale: Scale) -> None:
    """A history of daily bars into an empty store."""
    _write(race, "W12.write", daily(scale.listed, scale.sessions))


def _write(race: Race, work: str, history: Truth) -> None:
    race.load("write", {"history": history})
    for sample in race.samples():
        for process in race.turns(sample, "write"):
            with race.store(process, history.resolution) as store:
                race.time(work, sample, store, "write", ["history"])
                race.check(work, store, history)
                race.weigh(work, store, history.rows)


def write_large(race: Race, scale: Scale) -> None:
    """A large history of daily bars, ours alone and once; a small one before it pays for imports."""
    large = daily(scale.large, scale.sessions)
    for sample, history in ((WARM_UP, large.days(0, 30)), (0, large)):
        race.load("again", {"history": history})
        for process in race.turns(sample, "again"):
            with race.store(process, "1d") as store:
                race.time("W12.large", sample, store, "write", ["history"])
                race.check("W12.large", store, history)


def append_few(race: Race, scale: Scale) -> None:
    """The day after a year of minutes."""
    _append(race, "W2.append", scale.symbols, scale.days)


def append_many(race: Race, scale: Scale) -> None:
    """The day after some days of many symbols."""
    _append(race, "W2.append500", scale.many, scale.many_days)


def _append(race: Race, work: str, symbols: int, before: int) -> None:
    everything = minutes(symbols, before + len(race.samples()))
    with race.stores("append", "1m") as stores:
        race.load("append", {"before": everything.days(0, before)})
        for store in stores.values():
            race.time(work, WARM_UP, store, "write", ["before"])
        for number, sample in enumerate(race.samples()):
            race.load("append", {"day": everything.days(before + number)})
            for process in race.turns(sample, "append"):
                store = stores[process.name]
                race.time(work, sample, store, "append", ["day"])
                race.check(work, store, everything.days(0, before + number + 1))


def replace_day(race: Race, scale: Scale) -> None:
    """Every value of a stored day is another one; another day each time."""
    expected = minutes(scale.symbols, scale.days)
    with race.stores("replace", "1m") as stores:
        race.load("replace", {"history": expected})
        for store in stores.values():
            race.time("W2.replace", WARM_UP, store, "write", ["history"])
        for turn, sample in enumerate(race.samples()):
            day = expected.days((turn + 1) * scale.days // (len(race.samples()) + 1)).restated(turn)
            expected = expected.replaced(day)
            race.load("replace", {"day": day})
            for process in race.turns(sample, "replace"):
                race.time("W2.replace", sample, stores[process.name], "replace", ["day"])
                race.check("W2.replace", stores[process.name], expected)


def keep_days(race: Race, scale: Scale) -> None:
    """One day after another, each kept before the next one comes."""
    history = minutes(scale.symbols, scale.commits)
    race.load("add_day", _days(history, scale.commits))
    for sample in race.samples(at_most=3):
        for process in race.turns(sample, "add_day"):
            with race.store(process, "1m") as store:
                race.time("W2.commits", sample, store, "add_day", _days(history, scale.commits))
                race.check("W2.commits", store, history)


def write_again(race: Race, scale: Scale) -> None:
    """The content that is stored already, against writing it."""
    history = minutes(scale.symbols, scale.days)
    race.load("again", {"history": history})
    for sample in race.samples():
        for process in race.turns(sample, "again"):
            with race.store(process, "1m") as store:
                race.time("W2.again/write", sample, store, "write", ["history"])
                race.time("W2.again", sample, store, "again", ["history"])
                race.check("W2.again", store, history)


def compact(race: Race, scale: Scale) -> None:
    """Days that were kept one by one become one piece for each series."""
    history = minutes(scale.symbols, scale.compacted)
    days = _days(history, scale.compacted)
    with race.stores("compact", "1m") as stores:
        for store in stores.values():
            for name, day in days.items():
                store.process.ask("forget")
                store.process.load(name, day)
                race.time("W10.compact", WARM_UP, store, "add_day", [name])
            store.close()
        for sample in race.samples(at_most=3):
            for process in race.turns(sample, "compact"):
                with race.store(process, "1m", copy_of=stores[process.name].folder) as store:
                    race.time("W10.compact", sample, store, "compact")
                    race.check("W10.compact", store, history)


def _days(history: Truth, count: int) -> dict[str, Truth]:
    return {f"day-{number}": history.days(number) for number in range(count)}


def _reading(read: Callable[[Race, ReadScale], None]) -> Callable[[Race, Scale], None]:
    return lambda race, scale: read(race, scale.reads)


WORKS: dict[str, Callable[[Race, Scale], None]] = {
    "W1.write": write_minutes,
    "W2.append": append_few,
    "W2.append500": append_many,
    "W2.replace": replace_day,
    "W2.commits": keep_days,
    "W2.again": write_again,
    "W10.compact": compact,
    "W12.write": write_days,
    "W12.large": write_large,
    **{name: _reading(read) for name, read in READ_WORKS.items()},
}
# Only where asked for: it takes minutes and gigabytes.
LARGE = frozenset({"W12.large"})


def chosen(asked: list[str], *, large: bool) -> list[str]:
    """The names of the works that were asked for by name or by what a name begins with (`W2`); all without any.

    Raises:
        ValueError: there is no such work; the message lists them.
    """
    if not asked:
        return [name for name in WORKS if large or name not in LARGE]
    for item in asked:
        if not any(_means(item, name) for name in WORKS):
            raise ValueError(f"there is no work {item!r}; there is {', '.join(WORKS)}")
    wanted = [name for name in WORKS if any(_means(item, name) for item in asked)]
    return [name for name in wanted if large or name not in LARGE or name in asked]


def _means(asked: str, name: str) -> bool:
    return asked in {name, name.partition(".")[0], name[0]}
