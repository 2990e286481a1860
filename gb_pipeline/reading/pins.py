"""This module makes pins of what a lake holds, and opens them again: a reader of just that, or a refusal with what differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError, NoDataInRange, PinRefused, ReadError, UnknownSeries
from gb_pipeline.lake import pins
from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, FETCHES, SESSIONS, bars_dataset
from gb_pipeline.lake.fingerprints import SERIES
from gb_pipeline.lake.pins import Pin
from gb_pipeline.lake.version_rows import NUMBERS, WIDE
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.spelling import format_count
from gb_pipeline.market.window import Window
from gb_pipeline.reading.arguments import EARLIEST, LATEST, Symbols, named_symbols
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.reading.context import Context
from gb_pipeline.reading.fingerprints import find_mismatches, make_fingerprint, read_bars
from gb_pipeline.reading.request import Request
from gb_pipeline.storage.table import Tables

# A pin of no more bars keeps a copy of them.
MOST_COPIED = 1_000_000
_BAR = [*SERIES, "session", "timestamp"]
# How often a smaller part is read to find what of it cannot be.
_MOST_TRIES = 200


def make_pin(
    context: Context,
    name: str,
    chosen: Sequence[tuple[str | None, Sequence[str]]],
    resolution: Resolution,
    window: Window | None,
    as_of: datetime | None,
    version: str,
) -> Pin:
    """Pin series under a name; see `Lake.pin`."""
    pins.check_pin_name(name)
    tables = context.tables.view()
    newest = newest_moment(tables, [*(bars_dataset(resolution, item).name for item in Precision), SESSIONS.name])
    # For later moments the answer may still change.
    moment = newest if as_of is None else min(as_of, newest)
    found = make_fingerprint(tables, chosen, resolution, window, moment)
    there = found.series["symbol"].unique().to_list()
    missing = [code for _, codes in chosen for code in codes if code not in there]
    if missing or found.series.is_empty():
        raise NoDataInRange(
            f"no {resolution} bars of {', '.join(missing) or 'these series'} were known in that range at {moment.isoformat()}",
            fix="pin what there is: `gb status`, `gb gaps`",
        )
    bars, copy, digest = int(found.series["bars"].sum()), None, ""
    if bars <= MOST_COPIED:
        copy, digest = pins.encode_copy(pl.concat(read_bars(tables, found.sessions, moment), how="vertical_relaxed"))
    facts = {fact.name: fact for fact in context.facts()}
    named = found.series["source"].unique().to_list()
    sources = tuple(fact for source, fact in facts.items() if source in named)
    # Splits, and that there is none, are often told after the newest bar; clocks of several machines may differ.
    told_at = max(newest, newest_moment(tables, [CORPORATE_ACTIONS.name, FETCHES.name]))
    pin = Pin(
        name,
        resolution,
        window,
        moment,
        found.whole,
        found.sessions,
        sources,
        context.clock(),
        version,
        digest,
        told_at if as_of is None else min(as_of, told_at),
    )
    return pins.store_pin(context.tables.storage, pin, copy)


def newest_moment(tables: Tables, names: Sequence[str]) -> datetime:
    """The newest moment that anything in some tables was stamped with: what they say as of it never changes."""
    return from_microseconds(max(tables.newest(name).clock for name in names))


class Replay(BarReader):
    """What a pin names, read like a lake: `bars`, `wide`, `returns` and all others see its series, window and moment only.

    Attributes:
        pin: what is read.
    """

    def __init__(self, context: Context, pin: Pin) -> None:
        """Use `Lake.replay`."""
        self.pin = pin
        # Sources are asked in the order, and by the calendars, that held when the pin was made.
        self._context = replace(context, facts=lambda: pin.sources)

    def __repr__(self) -> str:
        """Its name and moment."""
        return f"Replay({self.pin.name!r}, as_of={self.pin.as_of.isoformat()})"

    def _request(self, *arguments: Any, **named: Any) -> Request:
        pin = self.pin
        request = super()._request(*arguments, **named)
        question = request.question
        series = frozenset(pin.series.select("source", "symbol").rows())
        if question.resolution is not pin.resolution:
            raise ReadError(
                f"pin {pin.name!r} has {pin.resolution} bars, not {question.resolution}",
                fix=f"ask for {pin.resolution}",
            )
        unknown = sorted(set(question.symbols) - {code for _, code in series})
        if unknown or question.source not in {None, *(name for name, _ in series)}:
            raise UnknownSeries(
                f"pin {pin.name!r} has nothing of {', '.join(unknown) or question.source}",
                near=sorted(f"{name}:{code}" for name, code in series),
                fix="read it from the lake itself, or pin it as well",
            )
        if question.as_of is not None and question.as_of > pin.as_of:
            raise ReadError(
                f"pin {pin.name!r} ends at what was known at {pin.as_of.isoformat()}", fix="leave `as_of` out"
            )
        return replace(
            request,
            question=replace(
                question,
                symbols=question.symbols or tuple(sorted({code for _, code in series})),
                window=_inside(pin, question.window),
                as_of=question.as_of or pin.as_of,
                told_at=pin.told_at if question.as_of is None else None,
                series=series,
            ),
        )


def _inside(pin: Pin, window: Window) -> Window:
    """The window, its open ends closed by the pin's.

    Raises:
        ReadError: it reaches out of the pin.
    """
    if pin.window is None:
        return window
    start = pin.window.start if window.start == EARLIEST else window.start
    end = pin.window.end if window.end == LATEST else window.end
    if start < pin.window.start or end > pin.window.end:
        raise ReadError(
            f"pin {pin.name!r} holds bars from {pin.window.start.isoformat()} to {pin.window.end.isoformat()} (exclusive)",
            fix="ask for a range in it",
        )
    return Window(start, end)


def open_pin(context: Context, pin: Pin) -> Replay:
    """A reader of what a pin names, once every bar of it was compared.

    Raises:
        PinRefused: some bars are not as they were; `differences` lists them.
    """
    tables = context.tables.view()
    changed = _changed_sessions(tables, pin)
    if changed.is_empty():
        return Replay(context, pin)
    raise refusal(pin, _differences(tables, pin, changed))


def refusal(pin: Pin, differences: pl.DataFrame) -> PinRefused:
    """The error that names bars which are not as they were."""
    return PinRefused(
        f"pin {pin.name!r} cannot be replayed exactly: {_describe(differences)}",
        differences=differences,
        fix="the error's `differences` has all of them; `gb verify` says what is damaged, a backup has the bars as they were",
    )


def _changed_sessions(tables: Tables, pin: Pin) -> pl.DataFrame:
    """The sessions that are not as they were: by the ledger, or by their bars; columns of `Pin.sessions`."""
    chosen = [
        (str(source), rows["symbol"].to_list())
        for (source,), rows in pin.series.group_by("source", maintain_order=True)
    ]
    keys = [*SERIES, "session"]
    found, unreadable = _compare_readable(tables, pin)
    wrong = [pin.sessions.clear().select(keys), unreadable.select(keys), *(rows.select(keys) for rows in found)]
    if unreadable.is_empty():
        now = make_fingerprint(tables, chosen, pin.resolution, pin.window, pin.as_of).sessions
        both = [*keys, "bars", "fingerprint"]
        wrong += [
            pin.sessions.join(now, on=both, how="anti").select(keys),
            now.join(pin.sessions, on=both, how="anti").select(keys),
        ]
    return pl.concat(wrong).unique().sort(keys).join(pin.sessions, on=keys, how="left")


def _compare_readable(tables: Tables, pin: Pin) -> tuple[list[pl.DataFrame], pl.DataFrame]:
    """Sessions whose bars are not as they were, and those that cannot be read; bars are read once unless some cannot be."""
    found: list[pl.DataFrame] = []
    unreadable = [pin.sessions.clear()]
    waiting, tries = [pin.sessions], 0
    while waiting:
        part = waiting.pop()
        try:
            found.append(find_mismatches(tables, part, pin.as_of))
        except LakeError:
            tries += 1
            if part.height == 1 or tries > _MOST_TRIES:
                unreadable.append(part)
            else:
                waiting += [part[: part.height // 2], part[part.height // 2 :]]
    return found, pl.concat(unreadable)


def _differences(tables: Tables, pin: Pin, changed: pl.DataFrame) -> pl.DataFrame:
    """One row per bar that differs; of sessions of which no copy is kept, one row each."""
    known = changed.drop_nulls("bars").cast(pin.sessions.schema)
    now = pl.concat([_no_bars(), *_read_what_can_be(tables, known, pin.as_of)])
    copy = pins.read_copy(tables.storage, pin)
    if copy is None:
        return _sessions_as_rows(known)
    then = copy.join(known, on=[*SERIES, "session"], how="semi").select(_BAR + list(CONTENT)).cast(now.schema)
    both = then.rename({name: f"then_{name}" for name in CONTENT}).join(
        now.rename({name: f"now_{name}" for name in CONTENT}), on=_BAR, how="full", coalesce=True
    )
    same = pl.all_horizontal(pl.col(f"then_{name}").eq_missing(pl.col(f"now_{name}")) for name in CONTENT)
    kind = (
        pl.when(pl.col("now_open").is_null())
        .then(pl.lit("missing"))
        .when(pl.col("then_open").is_null())
        .then(pl.lit("added"))
        .otherwise(pl.lit("changed"))
    )
    return both.filter(~same).with_columns(kind.alias("kind")).sort(_BAR)


def _read_what_can_be(tables: Tables, sessions: pl.DataFrame, as_of: datetime) -> Iterator[pl.DataFrame]:
    for part in sessions.iter_slices(1) if sessions.height <= _MOST_TRIES else [sessions]:
        try:
            for bars in read_bars(tables, part, as_of):
                yield bars.select(_BAR + list(CONTENT)).cast(_no_bars().schema)
        except LakeError:
            continue


def _no_bars() -> pl.DataFrame:
    kinds = {**dict.fromkeys(SERIES, pl.String()), "session": pl.Date(), "timestamp": WIDE["timestamp"], **NUMBERS}
    return pl.DataFrame(schema=kinds)


def _sessions_as_rows(changed: pl.DataFrame) -> pl.DataFrame:
    none = {
        f"{side}_{name}": kind
        for side in ("then", "now")
        for name, kind in _no_bars().schema.items()
        if name in CONTENT
    }
    return changed.select(
        *SERIES,
        "session",
        pl.col("first").alias("timestamp"),
        *(pl.lit(None, kind).alias(name) for name, kind in none.items()),
        pl.lit("session").alias("kind"),
    )


def _describe(differences: pl.DataFrame) -> str:
    """The first bar that differs, and how many do."""
    if differences.is_empty():
        return "other sessions were recorded than when it was made"
    row = differences.row(0, named=True)
    bar = f"{row['source']}:{row['symbol']} {row['resolution']} at {row['timestamp'].isoformat()}"
    if row["kind"] == "session":
        return f"{_count(differences, 'session')}, the first is that of {row['session']} of {bar}"
    told = f"it is {row['kind']}"
    if row["kind"] == "changed":
        name = next(name for name in CONTENT if row[f"then_{name}"] != row[f"now_{name}"])
        told = f"{name} was {row[f'then_{name}']:f} then, is {row[f'now_{name}']:f} now"
    return f"{_count(differences, 'bar')}, the first is {bar}: {told}"


def _count(differences: pl.DataFrame, noun: str) -> str:
    return f"{format_count(differences.height, noun)} differ{'s' if differences.height == 1 else ''}"


def parse_series(symbols: Symbols, source: str | None) -> list[tuple[str | None, list[str]]]:
    """Codes, or `SOURCE:SYMBOL`, as symbols by source.

    Raises:
        ConfigError: a series of another source than the one that is named.
    """
    chosen: dict[str | None, list[str]] = {}
    for text in named_symbols(symbols) or []:
        before, colon, code = text.partition(":")
        if colon and source not in {None, before}:
            raise ConfigError(f"{text!r} is not a series of {source}", fix="leave `source` out")
        chosen.setdefault(before if colon else source, []).append(code if colon else text)
    if not chosen:
        raise ConfigError("no series was named", fix="name at least one, such as coinbase:BTC-USD")
    return list(chosen.items())
