"""This module says of every code of a refused row what it means, and whether somebody may make the row a bar all the same.

What a person can vouch for may be waived: that a bar lies off the grid, or came in bad company. What a bar has to be may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gb_pipeline.quality import reasons


class Release(StrEnum):
    """How a refused row can become a bar."""

    AS_IT_IS = "as it is"
    """A person may vouch for it."""
    CORRECTED = "with corrected values"
    """Its values make no bar; others may."""
    NOT = "not"
    """Nothing that is said of it makes it a bar of this series."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says of a row.

    Attributes:
        words: in a sentence.
        release: how the row can become a bar.
        fix: what to do about it instead; empty where it can be released.
    """

    words: str
    release: Release
    fix: str = ""


_FETCH = "fetch the window that it belongs to"
_ZONE = "set the source's `timezone`, and fetch it again"
_FORMAT = "correct the source's `timestamp_format`, and fetch it again"
_TICK = "look at it where it came from: a trade, a quote or a level is no bar"

MEANINGS: Mapping[str, Meaning] = {
    # Judgements.
    "misaligned": Meaning("it begins off the grid of its resolution", Release.AS_IT_IS),
    reasons.OUTSIDE_HOURS: Meaning("it lies outside of the trading hours of its session", Release.AS_IT_IS),
    reasons.CROSSED: Meaning("its ask is below its bid", Release.AS_IT_IS),
    reasons.CONFLICT: Meaning("another row of the answer says something else of the same moment", Release.AS_IT_IS),
    reasons.FETCHED_BEFORE_STORED: Meaning("it was fetched before what is stored, and differs", Release.AS_IT_IS),
    reasons.REFUSED_WITH_SESSION: Meaning("too many other rows of its session are bad", Release.AS_IT_IS),
    reasons.REFUSED_WITH_ANSWER: Meaning("too many other rows of the answer belong to no session", Release.AS_IT_IS),
    "negative_trade_count": Meaning("its number of trades is negative, and is left out", Release.AS_IT_IS),
    # What a bar has to be.
    "high_not_highest": Meaning("its high is below another of its prices", Release.CORRECTED),
    "low_not_lowest": Meaning("its low is above another of its prices", Release.CORRECTED),
    "negative_volume": Meaning("its volume is negative", Release.CORRECTED),
    reasons.PRICE_NOT_POSITIVE: Meaning("a price is zero or negative", Release.CORRECTED),
    reasons.MISSING: Meaning("a price or the volume is missing", Release.CORRECTED),
    reasons.UNREADABLE: Meaning("a number cannot be read", Release.CORRECTED),
    reasons.TOO_PRECISE: Meaning("a number has more digits than its precision holds", Release.CORRECTED),
    reasons.TOO_LARGE: Meaning("a number is larger than its precision holds", Release.CORRECTED),
    reasons.NO_BAR: Meaning("it has no price", Release.CORRECTED),
    # What no value mends.
    reasons.OUTSIDE_WINDOW: Meaning("it lies outside of the window that was asked for", Release.NOT, _FETCH),
    reasons.OUTSIDE_SESSION: Meaning(
        "it lies on a day without a session", Release.NOT, "correct the source's `calendar`, and fetch it again"
    ),
    reasons.PART_OF_SESSION: Meaning(
        "it is the evening with which the next session begins, as a bar of its own",
        Release.NOT,
        "bring it in under `calendar: 24/7`, in a source of its own",
    ),
    reasons.REMOVED_MEANWHILE: Meaning(
        "its session was removed on purpose while it was fetched", Release.NOT, "fetch it again, if it is wanted"
    ),
    reasons.STILL_OPEN: Meaning(
        "its bar was not closed yet", Release.NOT, "fetch it again: what was received is not the whole bar"
    ),
    "in_future": Meaning("it lies in the future", Release.NOT, "fetch it again once it is over"),
    reasons.UNREADABLE_TIMESTAMP: Meaning("its timestamp cannot be read", Release.NOT, _FORMAT),
    reasons.IMPLAUSIBLE_TIMESTAMP: Meaning("its timestamp is of no plausible time", Release.NOT, _FORMAT),
    reasons.AMBIGUOUS_TIMESTAMP: Meaning(
        "its local time is there twice", Release.NOT, "set `ambiguous`, and fetch it again"
    ),
    reasons.SKIPPED_TIMESTAMP: Meaning("its local time is skipped by the clock", Release.NOT, _ZONE),
    reasons.NO_ZONE: Meaning("its time has no zone", Release.NOT, _ZONE),
    reasons.UNNAMED_LINE: Meaning(
        "the line does not say whose it is", Release.NOT, "name the instrument in it, and fetch it again"
    ),
    reasons.SIZE_NOT_POSITIVE: Meaning("its size is zero or less", Release.NOT, _TICK),
    reasons.SIZE_NEGATIVE: Meaning("its size is less than zero", Release.NOT, _TICK),
    reasons.UNKNOWN_SIDE: Meaning("its side is none that there is", Release.NOT, _TICK),
    reasons.BROKEN_LINE: Meaning("the line has another number of fields than its header", Release.NOT, _TICK),
    reasons.NOT_INCREASING: Meaning("another row has its moment", Release.AS_IT_IS),
    reasons.NOT_REQUESTED: Meaning("its symbol was not asked for", Release.NOT, "fetch that symbol"),
}
# Of a code of another version.
UNKNOWN = Meaning(
    "a rule that this version does not know", Release.NOT, "`gb quarantine drop` if it needs nothing more"
)
# Breaches that a release leaves alone.
WAIVED = frozenset(code for code, meaning in MEANINGS.items() if meaning.release is Release.AS_IT_IS)


def how_to_release(codes: Iterable[str]) -> Release:
    """How a row that breaks all these rules can become a bar: the hardest of them decides.

    Example:
        >>> how_to_release(["misaligned", "negative_volume"])
        <Release.CORRECTED: 'with corrected values'>
    """
    return max(
        (MEANINGS.get(code, UNKNOWN).release for code in codes), key=list(Release).index, default=Release.AS_IT_IS
    )
