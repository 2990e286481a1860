"""This module reads `symbols: {members: {file: ...}}`: who was in an index on which day, from a CSV file.

A line is one stay: in on its first day, out on its last one, so that on the day of a change the newcomer is in and whom it replaces
is out, and the number of members does not change. That is how the lists of the S&P 500 in circulation are written: their days of
leaving are the days on which the successors join. Whoever leaves an index goes on trading, and is fetched: listings are not read
here.
"""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.config.symbols.membership_intervals import MembershipInterval, by_code
from gb_pipeline.config.symbols.spec import MemberList, canonical
from gb_pipeline.config.symbols.table import Line, Problems, read_lines
from gb_pipeline.market.symbol import AssetClass


def read(path: Path, spec: MemberList, asset_class: AssetClass) -> dict[str, tuple[MembershipInterval, ...]]:
    """All stays by canonical code, sorted by code, each in the order of time.

    Args:
        path: CSV with a header; other columns than those of `spec` are left alone.
        spec: names of the columns (what it excludes is read as well); an empty first day means that the beginning is not known.
        asset_class: of all codes.

    Raises:
        ConfigError: unusable; with the lines that are wrong: codes without a canonical form, bad dates, a day of leaving
            that is not after the day of joining, stays of one code (in whatever spelling) that overlap.
    """
    problems = Problems(path)
    intervals: dict[str, list[tuple[MembershipInterval, int]]] = {}
    for line in read_lines(path, problems, needed=(spec.code, spec.since, spec.until), known=None):
        parsed = problems.attempt(line.number, lambda line=line: _parse_stay(line, spec, asset_class))  # type: ignore[misc]
        if parsed is None:
            continue
        code, interval = parsed
        before = intervals.setdefault(code, [])
        clash = next((number for other, number in before if interval.overlaps(other)), None)
        if clash is not None:
            problems.add(line.number, f"{code} is in already, by line {clash}")
        before.append((interval, line.number))
    problems.check()
    return by_code((code, interval) for code, numbered in intervals.items() for interval, _ in numbered)


def _parse_stay(line: Line, spec: MemberList, asset_class: AssetClass) -> tuple[str, MembershipInterval]:
    joined, left = line.day(spec.since), line.day(spec.until)
    if joined is not None and left is not None and left <= joined:
        raise ValueError(f"{spec.until} {left} is not after {spec.since} {joined}")
    return canonical(line.get(spec.code), asset_class).code, MembershipInterval(joined, left)
