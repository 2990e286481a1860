"""When a continuous future goes from one contract to the next: a table of rolls, made by a rule or given by a user.

Which prices are joined at a roll, and how, is in `continuous`. Nothing here reads a lake.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from enum import StrEnum

import polars as pl

from gb_pipeline.errors import ConfigError

CONTRACTS = pl.Schema({"symbol": pl.String(), "expiry": pl.Date()})
ROLLS = pl.Schema({"session": pl.Date(), "from_symbol": pl.String(), "to_symbol": pl.String()})


class RollRule(StrEnum):
    """What decides that the next contract is the front one."""

    CALENDAR = "calendar"
    """Some sessions before the last one in which the contract may be held."""
    VOLUME = "volume"
    """The next contract traded more in a session; it is the front one from the session after."""
    OPEN_INTEREST = "open_interest"
    """More of the next contract was open at the end of a session; likewise."""


def make_rolls(
    contracts: pl.DataFrame,
    sessions: Sequence[date],
    rule: RollRule | str,
    *,
    days_before: int = 0,
    measures: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The rolls of a chain of contracts.

    Each session's front contract follows from what was known before it opened, so the table holds no look-ahead.

    Args:
        contracts: `symbol` and `expiry` (Date, the last session in which it trades), and where the goods are delivered
            `first_notice` (Date; null for none): a contract is left before that day.
        sessions: the trading days, sorted.
        rule: `calendar`, `volume` or `open_interest`.
        days_before: by the calendar: so many sessions before the last one the next contract is the front one; 0 holds a
            contract through it. By volume or open interest: the calendar decides where they have not until then.
        measures: for these two, `symbol`, `session` (Date) and `volume` or `open_interest` of each contract.

    Returns:
        `session` (Date, the first one in which the next contract is the front one), `from_symbol`, `to_symbol`; sorted.

    Raises:
        ConfigError: a column is missing, a contract expires twice, or a rule that there is not.

    Example:
        >>> make_rolls(contracts, calendar.sessions(start, end), "calendar", days_before=8)
    """
    if rule not in {kind.value for kind in RollRule}:
        raise ConfigError(f"{rule!r:.40} is not a rule of rolling", fix=f"use {', '.join(RollRule)}, or a table")
    if days_before < 0:
        raise ConfigError(f"days_before={days_before} rolls after the last session", fix="use 0 or more")
    chain = sorted_chain(contracts)
    days = pl.Series("session", sorted(sessions), dtype=pl.Date)
    latest = _latest_rolls(chain, days, days_before)
    overtakings: list[list[date]] = [[] for _ in latest]
    if rule != RollRule.CALENDAR:
        if measures is None:
            raise ConfigError(f"rolling by {rule} needs it of each contract and session", fix="pass measures=")
        overtakings = _overtakings(chain["symbol"].to_list(), _checked(measures, str(rule)), str(rule), days)
    rows, previous = [], date.min
    codes = chain["symbol"].to_list()
    for number, (last, found) in enumerate(zip(latest, overtakings, strict=True)):
        # A contract that was larger once, before its forerunner was the front one, is not yet the front one for that.
        position = bisect_left(found, previous)
        choices = [day for day in (last, *found[position : position + 1]) if day is not None]
        if not choices:
            break
        # One that may not be held any more when its turn comes is left in the session in which it is reached.
        session = max(previous, min(choices))
        rows.append((session, codes[number], codes[number + 1]))
        previous = session
    return pl.DataFrame(rows, ROLLS, orient="row")


def check_rolls(rolls: pl.DataFrame) -> pl.DataFrame:
    """A table of rolls from a user, sorted.

    Raises:
        ConfigError: a column is missing or has nulls, a roll does not begin with the contract that the one before ended with, or
            a contract comes back.
    """
    missing = [name for name in ROLLS if name not in rolls.columns]
    if missing:
        raise ConfigError(f"the table of rolls has no column {missing[0]!r}", fix=f"it needs {', '.join(ROLLS)}")
    table = rolls.select(ROLLS.names()).cast(ROLLS).sort("session", maintain_order=True)
    if sum(table.null_count().row(0)):
        raise ConfigError("a roll has no session or no contract", fix=f"fill {', '.join(ROLLS)} of every row")
    torn = table.filter(pl.col("from_symbol") != pl.col("to_symbol").shift())
    if torn.height:
        session, symbol, _ = torn.row(0)
        raise ConfigError(
            f"the roll of {session} leaves {symbol}, which the roll before did not go to", fix="name every roll once"
        )
    reached = pl.concat([table["from_symbol"].head(1), table["to_symbol"]])
    if reached.is_duplicated().any():
        again = reached.filter(reached.is_duplicated())[0]
        raise ConfigError(f"the rolls come back to {again}", fix="a contract can be the front one once")
    return table


def sorted_chain(contracts: pl.DataFrame) -> pl.DataFrame:
    """Contracts in the order of expiry.

    Raises:
        ConfigError: a column is missing, or a contract has no expiry of its own.
    """
    missing = [name for name in CONTRACTS if name not in contracts.columns]
    if missing:
        raise ConfigError(f"the contracts have no column {missing[0]!r}", fix=f"they need {', '.join(CONTRACTS)}")
    chain = contracts.with_columns(pl.col("expiry").cast(pl.Date)).sort("expiry", "symbol")
    twice = chain.filter(pl.col("symbol").is_duplicated() | pl.col("expiry").is_duplicated())
    if twice.height or chain["expiry"].null_count():
        name = twice["symbol"][0] if twice.height else chain.filter(pl.col("expiry").is_null())["symbol"][0]
        raise ConfigError(
            f"contract {name} has no expiry of its own", fix="name each contract once, with its last session"
        )
    return chain


def _latest_rolls(chain: pl.DataFrame, days: pl.Series, days_before: int) -> list[date | None]:
    """For each contract but the last, the session from which it may not be held; None where the sessions end before."""
    held = pl.col("expiry")
    if "first_notice" in chain.columns:
        held = pl.min_horizontal("expiry", pl.col("first_notice").cast(pl.Date) - pl.duration(days=1))
    ends = chain.select(held.cast(pl.Date).alias("held"))["held"][:-1]
    # The first session after the last one held, counted back.
    positions = days.search_sorted(ends, side="right").cast(pl.Int64) - days_before
    return [days[max(0, position)] if position < len(days) else None for position in positions]


def _checked(measures: pl.DataFrame, name: str) -> pl.DataFrame:
    missing = [column for column in ("symbol", "session", name) if column not in measures.columns]
    if missing:
        raise ConfigError(f"the measures have no column {missing[0]!r}", fix=f"they need symbol, session and {name}")
    return measures.select("symbol", pl.col("session").cast(pl.Date), name)


def _overtakings(codes: Sequence[str], measures: pl.DataFrame, name: str, days: pl.Series) -> list[list[date]]:
    """For each contract but the last, the sessions after those in which the next was larger, sorted."""
    nexts = pl.DataFrame({"symbol": codes[:-1], "next": codes[1:]}, {"symbol": pl.String(), "next": pl.String()})
    pairs = measures.join(nexts, on="symbol").join(
        measures.rename({"symbol": "next", name: "of_next"}), on=["next", "session"]
    )
    larger = pairs.filter(pl.col("of_next") > pl.col(name)).sort("session")
    positions = days.search_sorted(larger["session"], side="right")
    known = larger.select("symbol", position=positions).filter(pl.col("position") < len(days))
    found = known.select("symbol", session=days.gather(known["position"])).partition_by("symbol", as_dict=True)
    return [found[code,]["session"].to_list() if (code,) in found else [] for code in codes[:-1]]
