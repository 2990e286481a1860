"""This module merges a vendor's new list into a universe, and refuses lists that cannot be true.

It is pure: asking for the list and choosing from it are in `discovery`, the file in `config.symbols.discovered`.

Merging never takes anything away. An instrument that the conditions do not choose any more has `left`; one that the vendor
does not list any more, or does not trade, also has a `listed_until`: the vendor's own date, else the day on which it was
missed, as nobody knows better. One that comes back has another line, without an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from gb_pipeline.config.symbols.discovered import Entry
from gb_pipeline.config.symbols.table import unsafe
from gb_pipeline.errors import UniverseRefused
from gb_pipeline.providers.base import Instrument


@dataclass(frozen=True, slots=True)
class Change:
    """What a refresh changed for one instrument.

    Attributes:
        code: canonical.
        kind: `joined`, `left`, `back`, `delisted`, `relisted` or `corrected` (another spelling or date of the vendor's).
        detail: for a person.
    """

    code: str
    kind: str
    detail: str


def merge_list(
    before: Sequence[Entry], listed: Sequence[Instrument], chosen: Sequence[Instrument], today: date
) -> tuple[tuple[Entry, ...], tuple[Change, ...]]:
    """What is known once this list is believed, by code and time, and how that differs from before.

    Args:
        before: what was known.
        listed: everything that the vendor lists.
        chosen: what meets the conditions.
        today: by the source's calendar.
    """
    listed_by_code: dict[str, Instrument] = {}
    for item in listed:
        if item.symbol.code not in listed_by_code or item.active:
            listed_by_code[item.symbol.code] = item
    wanted = {item.symbol.code: item for item in chosen}
    newest = {entry.code: entry for entry in sorted(before, key=lambda entry: (entry.code, entry.joined))}
    after = [entry for entry in before if newest[entry.code] is not entry]
    changes: list[Change] = []
    for code in sorted({*newest, *wanted}):
        old = newest.get(code)
        if old is None:
            entry = _new_entry(wanted[code], today)
            changes.append(Change(code, "joined", _describe_entry(entry)))
            after.append(entry)
            continue
        entry = _correct(old, wanted.get(code, listed_by_code.get(code)), today)
        if code in wanted and not old.open:
            back = max(today, old.left or today)
            # Who left today did not leave.
            after += [] if old.left == back else [old]
            entry = replace(entry, left=None, joined=old.joined if old.left == back else back)
        elif code not in wanted and old.open:
            entry = replace(entry, left=max(today, old.joined))
        changes += _describe_changes(old, entry)
        after.append(entry)
    return tuple(sorted(after, key=lambda entry: (entry.code, entry.joined))), tuple(changes)


def refuse_losses(source: str, before: Sequence[Entry], after: Sequence[Entry]) -> None:
    """Do not believe a list that lost more than half.

    Raises:
        UniverseRefused: more than half of the chosen have left, or more than half of the listed are delisted.
    """
    new = {entry.code: entry for entry in sorted(after, key=lambda entry: (entry.code, entry.joined))}
    old = {entry.code: entry for entry in sorted(before, key=lambda entry: (entry.code, entry.joined))}
    groups: tuple[tuple[str, Callable[[Entry], bool]], ...] = (
        ("chosen", lambda entry: entry.open),
        ("listed", lambda entry: entry.listed_until is None),
    )
    for word, holds in groups:
        were = [code for code, entry in old.items() if holds(entry)]
        are = [code for code in were if holds(new[code])]
        if 2 * len(are) < len(were):
            raise UniverseRefused(
                f"only {len(are):,} of {len(were):,} symbols of {source} would still be {word}; nothing was changed",
                fix="the vendor's answer may be broken: try again later; --force believes it, for other conditions too",
            )


def _new_entry(item: Instrument, today: date) -> Entry:
    symbol = item.symbol
    entry = Entry(symbol.code, item.vendor, symbol.exchange, symbol.asset_class, item.listed_from, None, today)
    return _correct(entry, item, today)


def _correct(entry: Entry, item: Instrument | None, today: date) -> Entry:
    """The entry with what the vendor says now."""
    if item is not None and not (unsafe(item.vendor) or unsafe(item.symbol.exchange)):
        entry = replace(
            entry,
            vendor=item.vendor or entry.vendor,
            exchange=item.symbol.exchange or entry.exchange,
            asset_class=item.symbol.asset_class,
            listed_from=item.listed_from or entry.listed_from,
        )
    first = entry.listed_from
    if item is not None and item.listed_until is not None:
        until: date | None = item.listed_until
    elif item is not None and (item.active or (first is not None and first > today)):
        until = None
    else:
        until = entry.listed_until or today
    # Nothing ends before it begins; of the two, the end is what keeps a day from being asked for in vain.
    return replace(
        entry, listed_until=until, listed_from=first if until is None or not first or first <= until else None
    )


def _describe_changes(old: Entry, new: Entry) -> list[Change]:
    changes = []
    if old.open and not new.open:
        changes.append(Change(old.code, "left", f"on {new.left}; its data and days stay"))
    elif new.open and not old.open:
        changes.append(Change(old.code, "back", f"since {new.joined}; it had left on {old.left}"))
    if old.listed_until is None and new.listed_until is not None:
        changes.append(Change(old.code, "delisted", f"first session without it: {new.listed_until}"))
    elif old.listed_until is not None and new.listed_until is None:
        changes.append(
            Change(old.code, "relisted", f"sessions since {old.listed_until} count as not listed until fetched again")
        )
    names = ("vendor", "exchange", "asset_class", "listed_from")
    wrong = [name for name in names if getattr(old, name) != getattr(new, name)]
    if old.listed_until and new.listed_until and old.listed_until != new.listed_until:
        wrong.append("listed_until")
    if wrong:
        detail = ", ".join(
            f"{name} {getattr(old, name) or 'unknown'} is {getattr(new, name) or 'unknown'}" for name in wrong
        )
        changes.append(Change(old.code, "corrected", detail))
    return changes


def _describe_entry(entry: Entry) -> str:
    parts = [f"as {entry.vendor}"] if entry.vendor else []
    parts += [f"listed since {entry.listed_from}"] if entry.listed_from else []
    parts += [f"delisted, first session without it {entry.listed_until}"] if entry.listed_until else []
    return ", ".join(parts)
