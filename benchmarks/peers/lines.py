"""What is reported: each work's result, what it is held against, and whether that was met."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.peers.contender import OURS, OURS_IN_MEMORY, OURS_ON_DISK, OWN
from benchmarks.peers.judge import Exactness
from benchmarks.peers.race import Taken

Results = Mapping[str, Mapping[str, Taken]]


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        work: its name.
        title: what was done.
        ours: what it took, in `unit`.
        unit: `s`, `s of CPU`, `us of CPU a bar` or `B/row`.
        best: the same of the best peer; None where there was none.
        peer: which one that is; a `~` tells that it does not keep every value.
        ratio: ours to the best peer's, or to what the line is about.
        cpu_ratio: the same for processor time, of the same peer.
        target: in words.
        met: whether it is; None where it cannot be said.
    """

    work: str
    title: str
    ours: float
    unit: str
    best: float | None
    peer: str
    ratio: float | None
    cpu_ratio: float | None
    target: str
    met: bool | None


def _against(
    work: str, title: str, limit: float | None = None, peer: str | None = None, *, exact: bool = False, own: str = OURS
) -> Callable[[Results], Line | None]:
    """Wall time against the quickest peer, of those that keep every value where that matters, or against a certain one."""

    def line(results: Results) -> Line | None:
        taken = results.get(work, {})
        if own not in taken:
            return None
        ours, best = taken[own], _best(taken, peer, exact=exact)
        target = "" if limit is None else f"<= {limit:g} x"
        if best is None:
            return Line(work, title, ours.median_wall, "s", None, "", None, None, target, None)
        name, other = best
        ratio = ours.median_wall / other.median_wall
        cpu = ours.median_cpu / other.median_cpu if other.median_cpu else None
        met = None if limit is None else ratio <= limit
        return Line(
            work, title, ours.median_wall, "s", other.median_wall, _marked(name, other), ratio, cpu, target, met
        )

    return line


def _processor(
    work: str, title: str, limit: float, unit: str = "s of CPU", per: Callable[[], float] = lambda: 1.0
) -> Callable[[Results], Line | None]:
    """Processor time of ours against a number."""

    def line(results: Results) -> Line | None:
        taken = results.get(work, {})
        if OURS not in taken:
            return None
        value = taken[OURS].median_cpu / per()
        best = _best(taken)
        other = None if best is None else best[1].median_cpu / per()
        ratio = None if not other else value / other
        peer = "" if best is None else _marked(*best)
        return Line(work, title, value, unit, other, peer, None, ratio, f"<= {limit:g} {unit}", value <= limit)

    return line


def _again(work: str, title: str, limit: float) -> Callable[[Results], Line | None]:
    """Wall time against that of writing the same for the first time."""

    def line(results: Results) -> Line | None:
        if OURS not in results.get(work, {}):
            return None
        again, first = results[work][OURS], results[f"{work}/write"][OURS]
        ratio, cpu = again.median_wall / first.median_wall, again.median_cpu / first.median_cpu
        return Line(
            work, title, again.median_wall, "s", first.median_wall, "writing it", ratio, cpu, f"<= {limit:g} x", ratio <= limit
        )  # fmt: skip

    return line


def _bytes(work: str, title: str, limit: float) -> Callable[[Results], Line | None]:
    """Bytes per row of the whole store against a number."""

    def line(results: Results) -> Line | None:
        weights = {name: item for name, item in results.get(work, {}).items() if item.bytes_per_row is not None}
        if OURS not in weights:
            return None
        ours = weights[OURS].bytes_per_row or 0.0
        peers = {name: item for name, item in weights.items() if name not in OWN}
        target, met = f"<= {limit:g} B/row", ours <= limit
        if not peers:
            return Line(work, title, ours, "B/row", None, "", None, None, target, met)
        name = min(peers, key=lambda key: peers[key].bytes_per_row or 0.0)
        best = peers[name].bytes_per_row or 0.0
        return Line(work, title, ours, "B/row", best, _marked(name, peers[name]), ours / best, None, target, met)

    return line


def _reads() -> list[Callable[[Results], Line | None]]:
    return [
        _against("R1.start", "start a process and import"),
        _against("R1.year", "fresh process: open, a symbol-year of minutes", 1),
        _against("R1.year", "the same, kept on disk", 1, own=OURS_ON_DISK),
        _against("R1.close", "its second read: a year of `close`", 1),
        _against("R1.close", "the same, kept on disk", own=OURS_ON_DISK),
        _against("R1.day", "one day of a year", 1),
        _against("R1.cross", "a day of all symbols", 1),
        _against("R1.latest", "the latest bar of all symbols", 1, exact=True),
        _against("R1.extent", "count, first and last of all symbols", 1, exact=True),
        _against("R1.weeks", "a hot symbol-week, of 100", 0.3),
        _against("R1.weeks", "the same, kept in memory", 0.3, own=OURS_IN_MEMORY),
        _against("R1.weeks", "the same, kept on disk", own=OURS_ON_DISK),
        _against("R1.hours", "resample a year to an hour", 1),
        _against("R2.one", "daily bars: one symbol", 1.5),
        _against("R2.all", "daily bars: all 50 symbols", 1),
        _against("R2.all", "the same, kept in memory", own=OURS_IN_MEMORY),
        _against("R2.all", "the same, kept on disk", own=OURS_ON_DISK),
        _against("R3.all", "ten years of sessions, all", 1),
        _against("R3.five", "five days of it, two of them overwritten", 1),
        _against("R4.fragments", "a year of 365 daily commits", 1.5),
        _against("R4.compacted", "the same, compacted", 1),
    ]


def _best(taken: Mapping[str, Taken], only: str | None = None, *, exact: bool = False) -> tuple[str, Taken] | None:
    peers = [(name, item) for name, item in taken.items() if name not in OWN and item.wall and only in {None, name}]
    peers = [(name, item) for name, item in peers if not exact or item.exactness is Exactness.EXACT]
    return min(peers, key=lambda item: item[1].median_wall) if peers else None


def _marked(name: str, taken: Taken) -> str:
    return name if taken.exactness is Exactness.EXACT else f"{name} ~"


def lines(results: Results, bars_of_days: int) -> list[Line]:
    """Every line that there are results for; `bars_of_days` is how many bars `W12.write` stored."""
    made = (
        _against("W1.write", "write 2 symbols x 1 year of minutes", 4),
        _against("W2.append", "append one day, 2 symbols", 4),
        _against("W2.append500", "append one day, 500 symbols"),
        _processor("W2.append500", "the same, processor time", 1),
        _against("W2.replace", "replace one day, 2 symbols", 4),
        _against("W2.commits", "120 commits of a day each", 6),
        _again("W2.again", "the same content again", 0.2),
        _against("W10.compact", "compact 365 day-commits, with proof", 5),
        _against("W12.write", "write 50 symbols x 10 years of days", 4),
        _against("W12.write", "the same, one Parquet file for each symbol", peer="parquet_polars"),
        _processor("W12.write", "the same, processor time", 8, "us of CPU a bar", lambda: bars_of_days / 1e6),
        _processor("W12.large", "write 500 symbols x 10 years of days", 12),
        *_reads(),
        _bytes("W1.write", "bytes per row, minutes, ledgers included", 15.4),
        _bytes("W12.write", "bytes per row, days, ledgers included", 25),
    )
    return [line for line in (make(results) for make in made) if line is not None]
