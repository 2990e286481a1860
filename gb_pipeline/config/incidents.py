"""This module reads incidents.yaml: what a person knows of halts, outages and closures, which explains why bars are missing.

Which gaps an incident explains is decided in `lake.explained`. Nothing of it is ever stored with bars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from gb_pipeline.config import strict_yaml
from gb_pipeline.config.incident_times import Bound, read_bound, utc_start
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.market.calendar import get_calendar, require_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, near_names

EVERYTHING = "all"
# Codes as a lake spells them; * stands for any letters, ? for one.
_PATTERN = re.compile(r"[A-Z0-9._*?-]{1,64}", re.ASCII)
_KEYS = (
    "from", "to", "source", "symbols", "resolutions", "calendar", "exchange", "kind", "reason", "evidence",
)  # fmt: skip
_FIX = "correct the entry; docs/quality.md has an example of each key"


class IncidentKind(StrEnum):
    """What happened."""

    HALT = "halt"
    VENDOR_OUTAGE = "vendor_outage"
    EXCHANGE_OUTAGE = "exchange_outage"
    CLOSURE = "closure"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that explains why bars are missing.

    Attributes:
        entry: its number in the file, from 1.
        start, end: half-open: instants in UTC, or sessions where they are dates.
        kind: one of `IncidentKind`.
        reason: why, in a person's words.
        evidence: where that is known from: an address or a text.
        sources, symbols, resolutions, calendars, exchanges: what it concerns; empty for all. Symbols may be patterns.
        line: where it begins in the file.
    """

    entry: int
    start: Bound
    end: Bound
    kind: str
    reason: str
    evidence: str
    sources: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ()
    calendars: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)

    @property
    def scope(self) -> tuple[tuple[str, ...], ...]:
        """What it concerns; two of the same scope explain the same series."""
        return self.sources, self.symbols, self.resolutions, self.calendars, self.exchanges

    @property
    def scope_text(self) -> str:
        """`binance:BTC-*, 1m`, or `all sources`."""
        sources, symbols = ", ".join(self.sources), ", ".join(self.symbols)
        named = f"{sources}:{symbols}" if sources and symbols else sources or symbols
        rest = ", ".join([*self.calendars, *self.exchanges, *self.resolutions])
        return ", ".join(filter(None, (named, rest))) or "all sources"


def read_incidents(file: Path) -> tuple[Incident, ...]:
    """The incidents of a file, in its order; none where the file is empty.

    Whether there are such sources and symbols is not looked at: a lake keeps series that gb.yaml names no longer (`gb incidents
    check` looks).

    Raises:
        ConfigError: it is no YAML, or an entry cannot be used; the message names the file, the entry and its line.

    Example:
        >>> read_incidents(Path("incidents.yaml"))[0].kind
        'halt'
    """
    document = strict_yaml.read(file)
    if document is None:
        return ()
    if not isinstance(document, list):
        raise ConfigError(
            f"{file} is not a list of incidents", fix="begin each with a dash: `- from: 2024-01-02T14:30Z`"
        )
    lines = _lines_of(file)
    incidents = []
    for number, entry in enumerate(document, 1):
        line = lines[number - 1] if number <= len(lines) else 0
        try:
            incidents.append(_read_entry(number, line, entry))
        except GbError as error:
            raise ConfigError(f"{file}: entry {number} (line {line}): {error.what}", fix=error.fix or _FIX) from None
    _refuse_duplicates(file, incidents)
    return tuple(incidents)


def refuse_unknown_names(file: Path, incidents: Sequence[Incident], known: Mapping[str, Sequence[str]]) -> None:
    """Let incidents pass whose sources and symbols there are.

    Args:
        file: they come from.
        incidents: of it.
        known: the symbols of every source, of gb.yaml and of the lake.

    Raises:
        ConfigError: a source or a symbol that there is not; the message names the entry, and what was probably meant.
    """
    for incident in incidents:
        where = f"{file}: entry {incident.entry} (line {incident.line})"
        for source in incident.sources:
            if source not in known:
                near = did_you_mean(near_names(source, known), f"there is {', '.join(known) or 'none yet'}")
                raise ConfigError(f"{where}: there is no source {source!r}", fix=near)
        codes = sorted({code for source in incident.sources or known for code in known[source]})
        for symbol in incident.symbols:
            if not any(char in symbol for char in "*?") and symbol not in codes:
                near = did_you_mean(near_names(symbol, codes), "`gb status --incomplete` lists the symbols")
                of = f" of {', '.join(incident.sources)}" if incident.sources else ""
                raise ConfigError(f"{where}: there is no symbol {symbol!r}{of}", fix=near)


def _lines_of(file: Path) -> list[int]:
    node = strict_yaml.compose(file.read_text(encoding="utf-8"), str(file))
    return [item.start_mark.line + 1 for item in node.value] if isinstance(node, yaml.SequenceNode) else []


def _read_entry(number: int, line: int, entry: Any) -> Incident:
    if not isinstance(entry, dict):
        raise ConfigError("is no incident", fix="write `from`, `to`, `source`, `kind`, `reason` and `evidence`")
    for key in entry:
        if key not in _KEYS:
            near = near_names(str(key), _KEYS)
            # No message quotes a value; an unknown key is one of ours misspelt.
            raise ConfigError(
                f"{key!s:.40} is no key of an incident", fix=did_you_mean(near, f"keys are {', '.join(_KEYS)}")
            )
    start, end = _read_bounds(entry)
    sources = _names(entry, "source")
    calendars = tuple(get_calendar(name).name for name in _names(entry, "calendar") if _is_calendar(name))
    exchanges = _names(entry, "exchange")
    if not (calendars or exchanges) and entry.get("source") in (None, [], ""):
        raise ConfigError("does not say what it concerns", fix="name `source`, or write `source: all`")
    return Incident(
        entry=number,
        start=start,
        end=end,
        kind=_read_kind(entry),
        reason=_text(entry, "reason", "why the bars are missing"),
        evidence=_text(entry, "evidence", "where that is known from: an address or a text"),
        sources=sources,
        symbols=tuple(map(_read_pattern, _names(entry, "symbols"))),
        resolutions=tuple(Resolution.parse(name).value for name in _names(entry, "resolutions")),
        calendars=calendars,
        exchanges=exchanges,
        line=line,
    )


def _read_bounds(entry: Mapping[str, Any]) -> tuple[Bound, Bound]:
    if entry.get("from") is None:
        raise ConfigError("from is missing", fix="write an instant (2024-01-02T14:30Z) or a session (2024-01-02)")
    start = read_bound("from", entry["from"])
    if entry.get("to") is None:
        if isinstance(start, datetime):
            raise ConfigError("to is missing", fix="write when it ended; only a single session needs no `to`")
        return start, date.fromordinal(start.toordinal() + 1)
    end = read_bound("to", entry["to"])
    if utc_start(end) <= utc_start(start):
        same = not isinstance(start, datetime) and start == end
        fix = "`to` is exclusive: leave it out for a single session" if same else "swap them, or correct one"
        raise ConfigError("to is not after from", fix=fix)
    return start, end


def _read_kind(entry: Mapping[str, Any]) -> str:
    kinds = [kind.value for kind in IncidentKind]
    kind = entry.get("kind")
    if kind not in kinds:
        near = near_names(kind, kinds) if isinstance(kind, str) else []
        what = "kind is missing" if kind is None else "kind is none that there is"
        raise ConfigError(what, fix=did_you_mean(near, f"use one of {', '.join(kinds)}"))
    return str(kind)


def _text(entry: Mapping[str, Any], key: str, meaning: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} is {'missing' if value is None else 'not a text'}", fix=f"say {meaning}")
    return " ".join(value.split())


def _names(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A name, a list of them, or `all`, which is none in particular."""
    value = entry.get(key)
    if value is None or value == EVERYTHING:
        return ()
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ConfigError(
            f"{key} is not a name or a list of names", fix=f"write `{key}: NAME`, `{key}: [A, B]` or `all`"
        )
    return tuple(dict.fromkeys(name.strip() for name in names))


def _is_calendar(name: str) -> bool:
    require_calendar(name)
    return True


def _read_pattern(name: str) -> str:
    pattern = name.upper()
    if not _PATTERN.fullmatch(pattern):
        raise ConfigError(f"{name[:40]!r} is no symbol", fix="write canonical codes, or patterns: BTC-USD, BTC-*")
    return pattern


def _refuse_duplicates(file: Path, incidents: Sequence[Incident]) -> None:
    """Two entries of one scope that overlap are one incident that was written twice."""
    by_scope: dict[object, list[Incident]] = {}
    for incident in incidents:
        by_scope.setdefault(incident.scope, []).append(incident)
    for same in by_scope.values():
        ordered = sorted(same, key=lambda item: utc_start(item.start))
        for one, other in pairwise(ordered):
            if utc_start(other.start) < utc_start(one.end):
                first, second = sorted((one, other), key=lambda item: item.entry)
                raise ConfigError(
                    f"{file}: entry {second.entry} (line {second.line}) overlaps entry {first.entry} (line {first.line}),"
                    " which concerns the same",
                    fix="make them one, or end the first where the second begins",
                )
