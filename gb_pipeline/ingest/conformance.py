"""This module checks on one real answer what every provider promises.

It asks a vendor for one closed session and compares what comes with the contract of `providers.base`, the calendar and the rules of
quality. Nothing is written to the lake; printing is in `cli.live_check`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import pairwise

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, WindowRefused
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import (
    ACTIONS_RECEIVED,
    PRICES,
    RECEIVED,
    RECEIVED_OPTIONAL,
)
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import ActionsProvider, Fetched, InstrumentsProvider, Provider
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.corporate_actions import validate_actions

# Prices of real vendors have up to a dozen digits; more are the noise of a binary number.
_NOISE_DIGITS = 15
_LOOK_BACK = timedelta(days=30)
_ACTIONS_BACK = timedelta(days=3 * 366)


class Conformity(StrEnum):
    """How a check ended: as promised, as promised but worth a look, or not as promised."""

    OK = "ok"
    LOOK = "look"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: its name, whether it holds, and what was seen."""

    name: str
    verdict: Conformity
    seen: str


def recent_session(source: SourceSettings, now: datetime) -> date:
    """The newest session that is over, and has been for as long as the source waits.

    Raises:
        ConfigError: there was none in the last thirty days.
    """
    calendar = source.rules(Resolution.DAY).calendar
    today = now.date()
    settled = now - timedelta(minutes=source.settle_minutes, seconds=source.grace_seconds)
    sessions = pl.Series(calendar.sessions(today - _LOOK_BACK, today + timedelta(days=1)), dtype=pl.Date)
    closes = calendar.bar_ends(sessions.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), Resolution.DAY)
    for session, close in zip(reversed(sessions), reversed(closes), strict=True):
        if close <= settled:
            return date.fromisoformat(str(session))
    raise ConfigError(
        f"calendar {source.calendar} had no session since {today - _LOOK_BACK}", fix="name one with --day"
    )


async def check_bars(
    provider: Provider, source: SourceSettings, symbol: Symbol, resolution: Resolution, session: date
) -> list[Check]:
    """Ask for the bars of one session and compare them with everything that is promised.

    Args:
        provider: of a source that keeps raw responses, so that its reading can be repeated.
        source: how its bars are validated.
        session: a session of its calendar that is over.

    Raises:
        VendorError: one of its kinds.
    """
    rules = source.rules(resolution)
    first, end = _period(session, resolution)
    window = rules.calendar.window(first, end, resolution)
    began = time.monotonic()
    fetched = await provider.fetch_bars(symbol, window, resolution)
    seconds = time.monotonic() - began
    checks = [
        Check("answer", Conformity.OK if fetched.frame.height else Conformity.LOOK, _describe_answer(fetched, seconds)),
        _check_columns(fetched.frame, RECEIVED, set(RECEIVED_OPTIONAL)),
    ]
    if checks[-1].verdict is Conformity.BROKEN:
        return checks
    checks += [
        _check_requests(provider, window, resolution, fetched),
        _check_normalise(provider, symbol, window, resolution, fetched),
        _check_stamps(fetched.frame, window),
        _check_order(fetched.frame),
        _check_digits(fetched.frame),
        _check_volume(fetched.frame),
    ]
    expected = rules.calendar.expected(first, end, resolution, rules.alignment)
    named = fetched.frame.with_columns(pl.lit(symbol.code).alias("symbol"))
    try:
        validation = validate(named, rules, window)
    except WindowRefused as error:
        return [*checks, Check("quality", Conformity.BROKEN, error.what)]
    reasons = validation.bad["reasons"].explode().drop_nulls().value_counts(sort=True).rows()
    counted_reasons = ", ".join(f"{number} x {reason}" for reason, number in reasons)
    state = Conformity.BROKEN if validation.refused else Conformity.LOOK if reasons else Conformity.OK
    checks.append(
        Check(
            "quality",
            state,
            f"{validation.good.height} good, {validation.bad.height} bad rows; {counted_reasons}".rstrip("; "),
        )
    )
    present = expected.join(validation.good.select("timestamp"), on="timestamp", how="semi").height
    extra = validation.good.join(expected.select("timestamp"), on="timestamp", how="anti").height
    seen = f"{present} of {expected.height} bars that calendar {rules.calendar.name} expects; gap_policy is {rules.gap_policy}"
    checks.append(
        Check(
            "calendar",
            Conformity.OK if present == expected.height else Conformity.LOOK,
            seen + (f"; {extra} others" if extra else ""),
        )
    )
    return checks


async def check_actions(provider: ActionsProvider, symbol: Symbol, until: date) -> Check:
    """Ask for the corporate actions of three years.

    Raises:
        VendorError: one of its kinds.
    """
    start = until - _ACTIONS_BACK
    fetched = await provider.fetch_corporate_actions(symbol, start, until)
    shape = _check_columns(fetched.frame, ACTIONS_RECEIVED, set())
    if shape.verdict is Conformity.BROKEN:
        return Check("actions", Conformity.BROKEN, shape.seen)
    named = fetched.frame.with_columns(pl.lit(symbol.code).alias("symbol"))
    validation = validate_actions(named, {symbol.code}, start, until)
    kinds = ", ".join(f"{number} {kind}" for kind, number in validation.good["kind"].value_counts(sort=True).rows())
    state = Conformity.BROKEN if validation.bad.height else Conformity.OK
    return Check("actions", state, f"since {start}: {kinds or 'none'}; {validation.bad.height} bad")


async def check_instruments(provider: InstrumentsProvider, symbol: Symbol) -> Check:
    """Ask what the vendor lists.

    Raises:
        VendorError: one of its kinds.
    """
    listed = await provider.instruments()
    codes = [item.symbol.code for item in listed]
    active = sum(item.active for item in listed)
    seen = f"{len(listed):,} listed, {active:,} active"
    if len(set(codes)) < len(codes):
        return Check("instruments", Conformity.BROKEN, f"{seen}; {len(codes) - len(set(codes))} codes twice")
    if symbol.code not in set(codes):
        return Check("instruments", Conformity.LOOK, f"{seen}; {symbol.code} is not among them")
    return Check("instruments", Conformity.OK, f"{seen}; {symbol.code} is among them")


async def check_more(provider: Provider, symbol: Symbol, until: date) -> AsyncIterator[Check]:
    """Ask for everything else that this provider can be asked for.

    Raises:
        VendorError: one of its kinds; what was yielded before holds.
    """
    if isinstance(provider, ActionsProvider):
        yield await check_actions(provider, symbol, until)
    if isinstance(provider, InstrumentsProvider):
        yield await check_instruments(provider, symbol)


def _period(session: date, resolution: Resolution) -> tuple[date, date]:
    """The days that hold the newest whole bar of this resolution."""
    if resolution is Resolution.WEEK:
        monday = session - timedelta(days=session.weekday() + 7)
        return monday, monday + timedelta(days=7)
    if resolution is Resolution.MONTH:
        last = session.replace(day=1)
        return (last - timedelta(days=1)).replace(day=1), last
    return session, session + timedelta(days=1)


def _describe_answer(fetched: Fetched, seconds: float) -> str:
    empty = "" if fetched.frame.height else " (an empty answer, which is believed)"
    return (
        f"rows: {fetched.frame.height:,}{empty}, bytes: {fetched.bytes:,}, calls: {fetched.calls}; {fetched.latency:.2f} s"
        f" of waiting for the vendor, {seconds:.2f} s in all"
    )


def _check_columns(frame: pl.DataFrame, promised: pl.Schema, optional: set[str]) -> Check:
    wrong = [name for name, kind in promised.items() if name in frame.columns and frame.schema[name] != kind]
    absent = [name for name in promised if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in promised and name not in optional]
    if absent or unknown or wrong:
        problems = (("absent", absent), ("unknown", unknown), ("of another type", wrong))
        return Check(
            "columns",
            Conformity.BROKEN,
            "; ".join(f"{word}: {', '.join(names)}" for word, names in problems if names),
        )
    more = [name for name in frame.columns if name in optional]
    return Check("columns", Conformity.OK, "as promised" + (f", and {', '.join(more)}" if more else ""))


def _check_requests(provider: Provider, window: Window, resolution: Resolution, fetched: Fetched) -> Check:
    planned = provider.requests(window, resolution)
    state = Conformity.OK if planned == fetched.calls else Conformity.LOOK
    return Check("plan", state, f"calls planned for these bars: {planned}; made: {fetched.calls}")


def _check_normalise(
    provider: Provider, symbol: Symbol, window: Window, resolution: Resolution, fetched: Fetched
) -> Check:
    if not fetched.bodies:
        return Check(
            "normalise",
            Conformity.LOOK,
            f"{provider.normaliser}: no bodies were handed over, so none can be kept",
        )
    again = provider.normalise(symbol, window, resolution, fetched.bodies)
    if not again.equals(fetched.frame):
        return Check("normalise", Conformity.BROKEN, f"{provider.normaliser} makes another frame of the same bodies")
    return Check("normalise", Conformity.OK, f"{provider.normaliser} makes the same frame of the same bodies")


def _check_stamps(frame: pl.DataFrame, window: Window) -> Check:
    stamps = frame["timestamp"]
    unread = stamps.null_count()
    outside = frame.filter((pl.col("timestamp") < window.start) | (pl.col("timestamp") >= window.end)).height
    ends = f", {stamps.min()!s} to {stamps.max()!s}" if len(stamps) > unread else ""
    seen = f"UTC{ends}; {unread} unreadable, {outside} outside of what was asked for"
    return Check("stamps", Conformity.BROKEN if unread or outside else Conformity.OK, seen)


def _check_order(frame: pl.DataFrame) -> Check:
    twice = frame.height - frame["timestamp"].n_unique()
    stamps = frame["timestamp"].drop_nulls().to_list()
    sorted_already = all(a <= b for a, b in pairwise(stamps))
    seen = f"{twice} stamps twice; {'oldest first' if sorted_already else 'in no order'}"
    return Check("duplicates", Conformity.LOOK if twice else Conformity.OK, seen)


def _check_digits(frame: pl.DataFrame) -> Check:
    texts = pl.concat([frame[name].rename("text") for name in PRICES]).drop_nulls().unique()
    most, longest = _most_digits(texts)
    state = Conformity.LOOK if longest >= _NOISE_DIGITS else Conformity.OK
    noise = ": the noise of a binary number?" if state is Conformity.LOOK else ""
    return Check("digits", state, f"prices have up to {most} decimals and {longest} digits{noise}")


def _check_volume(frame: pl.DataFrame) -> Check:
    texts = frame["volume"].drop_nulls().unique()
    most, _ = _most_digits(texts)
    if texts.is_empty():
        return Check("volume", Conformity.LOOK, "none at all")
    nothing = (texts.str.strip_chars("0.-+") == "").all()
    kind = "zero throughout" if nothing else "whole numbers" if most == 0 else f"fractions of up to {most} decimals"
    return Check("volume", Conformity.LOOK if nothing else Conformity.OK, kind)


def _most_digits(texts: pl.Series) -> tuple[int, int]:
    """Most decimals, and most digits, of any number; an exponent is written out."""
    decimals = digits = 0
    for text in texts:
        try:
            number = Decimal(text).normalize()
        except InvalidOperation:
            continue
        if number.is_finite():
            decimals = max(decimals, -int(number.as_tuple().exponent))
            digits = max(digits, len(number.as_tuple().digits))
    return decimals, digits
