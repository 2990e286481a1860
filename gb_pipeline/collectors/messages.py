"""This module holds what decoders hand over: rows of messages as plain tuples, and signals about a stream.

A decoder appends one tuple for each trade, quote or message of a book; numbers stay the venue's own text, and times stay as they
came. Nothing is parsed here: that is done for all rows of a second at once, in columns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.providers.http.redaction import hide, scrub


class TimeUnit(StrEnum):
    """How a venue writes the time of an event."""

    ISO = "iso"  # text with up to nine decimals and an offset, such as 2021-04-17T16:43:36.123456Z
    SECONDS = "s"  # a number, or its text, with decimals
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


# Of a message that cannot be read, so many characters are shown.
_EXCERPT = 100
# And of a venue's own explanation.
_WORDS = 300
# Exchange time as the venue writes it: of the decoder's `time_unit`; None where there is none.
RawTime = str | int | None
# Price and size, as text.
Level = tuple[str, str]
# As pairs, or as the venue's own JSON text of pairs, of which `levels.keep_levels` has proven the shape.
Levels = list[Level] | bytes
# symbol, exchange time, receive time, side of the taker, price, size, trade id, sequence, ordinal
TradeRow = tuple[str, RawTime, int, str | None, str, str, str | int | None, int | None, int]
# symbol, exchange time, receive time, bids, asks, first sequence, last sequence, checksum; a size of 0 removes a level
UpdateRow = tuple[str, RawTime, int, Levels, Levels, int | None, int | None, int | None]
# symbol, exchange time, receive time, bids, asks, sequence, reason; best levels first
SnapshotRow = tuple[str, RawTime, int, Levels, Levels, int | None, str]
# symbol, exchange time, receive time, bid price, bid size, ask price, ask size, sequence
QuoteRow = tuple[str, RawTime, int, str | None, str | None, str | None, str | None, int | None]


@dataclass(frozen=True, slots=True)
class Signal:
    """What a decoder noticed about a stream, beside its rows.

    Attributes:
        kind: what happened.
        receive_time: ns since 1970 UTC by the collector's clock.
        dataset, symbol: of the subscription; None for the whole connection.
        first_sequence, last_sequence: what is missing, where numbers tell.
        resubscribe: the stream cannot go on as it is: a book is to be laid anew.
        detail: more, for a person; never a credential. Of what was refused: `error`, `fix`, and `permanent` where asking again
            is of no use until a person has changed something.
    """

    kind: ConnectionEventKind
    receive_time: int
    dataset: StreamDataset | None = None
    symbol: str | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    resubscribe: bool = False
    detail: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(slots=True)
class MessageRows:
    """What was heard and is not in columns yet, in the order in which it came.

    `heard` counts, by dataset and symbol, the messages that a subscription's evidence rests on: those without rows too, such as
    an update that changes no level, or a heartbeat that carries a number. `last_receive` is when the newest message came, whatever
    it was; the collector keeps it.
    """

    trades: list[TradeRow] = field(default_factory=list)
    updates: list[UpdateRow] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    quotes: list[QuoteRow] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    heard: dict[tuple[StreamDataset, str], int] = field(default_factory=dict)
    messages: int = 0
    unreadable: int = 0
    last_receive: int = 0

    def refuse(
        self,
        data: bytes,
        receive_time: int,
        why: str,
        dataset: StreamDataset | None = None,
        *,
        secrets: Collection[str] = (),
    ) -> None:
        """Note a message that cannot be read: it is counted, and a signal has its first hundred characters.

        Args:
            data: the message.
            receive_time: when it came.
            why: what is wrong with it.
            dataset: of which stream it is, where that is known.
            secrets: texts that are never shown; some vendors repeat a key.
        """
        self.unreadable += 1
        # Hidden before it is cut: half a key is still half a key.
        excerpt = _shown(data[: 10 * _EXCERPT].decode("utf-8", errors="replace"), secrets)[:_EXCERPT]
        detail: dict[str, str | int | float | bool | None] = {
            "message": excerpt,
            "error": _shown(why, secrets)[:_EXCERPT],
        }
        self.signals.append(Signal(ConnectionEventKind.UNREADABLE, receive_time, dataset, detail=detail))

    def skip(
        self,
        receive_time: int,
        first: int,
        last: int,
        dataset: StreamDataset | None = None,
        symbol: str | None = None,
        *,
        resubscribe: bool = False,
    ) -> None:
        """Note that numbers of a stream are missing before a message.

        Args:
            receive_time: when that message came.
            first, last: the numbers that are missing, both included.
            dataset, symbol: of the subscription; None where they may be of any of the connection.
            resubscribe: whether the stream cannot go on as it is.

        Example:
            >>> rows = MessageRows()
            >>> rows.skip(1_000, 7, 9, StreamDataset.TRADES, "BTC-USD")
            >>> rows.signals[0].kind.value, rows.signals[0].first_sequence, rows.signals[0].last_sequence
            ('sequence', 7, 9)
        """
        kind = ConnectionEventKind.SEQUENCE
        self.signals.append(Signal(kind, receive_time, dataset, symbol, first, last, resubscribe))

    def deny(
        self,
        receive_time: int,
        error: str,
        fix: str,
        *,
        dataset: StreamDataset | None = None,
        symbol: str | None = None,
        permanent: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        """Note that the venue refuses a subscription, or the whole connection where neither dataset nor symbol is given.

        Args:
            receive_time: when it said so.
            error: in its own words.
            fix: what a person can do.
            dataset: of the subscription.
            symbol: of the subscription.
            permanent: asking again is of no use until a person has changed something.
            secrets: texts that are never shown; some vendors repeat a key.
        """
        detail: dict[str, str | int | float | bool | None] = {"error": _shown(error, secrets)[:_WORDS], "fix": fix}
        if permanent:
            detail["permanent"] = True
        self.signals.append(Signal(ConnectionEventKind.REFUSED, receive_time, dataset, symbol, detail=detail))


def _shown(text: str, secrets: Collection[str]) -> str:
    return scrub(hide(text, secrets)) if secrets else text
