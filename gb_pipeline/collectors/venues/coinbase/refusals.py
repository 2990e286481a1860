"""This module asks Coinbase again without what it refuses: one unknown product makes it refuse a whole request, neighbours and all.

Mostly a refusal names the product. Where it names none, subscriptions are asked for one after the other, so that the one that is
refused is known. Nothing is sent here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence

from gb_pipeline.collectors.messages import MessageRows
from gb_pipeline.collectors.venue import Subscription
from gb_pipeline.market.tick_schema import StreamDataset

# Parts of refusals that asking again does not change; of others, such as "rate limit exceeded", it does.
_FOR_GOOD = (
    "not a valid",
    "invalid",
    "authentication",
    "unauthorized",
    "no channels",
    "no products",
    "delisted",
    "malformed",
)
_LATER = "it is asked for again with the next connection; see https://status.coinbase.com"
_COMPARE = "compare `symbols` and `options` in gb.yaml with https://api.exchange.coinbase.com/products"
# Asked for too fast, one is asked for again after this.
_PAUSE = 1_000_000_000


class Asking:
    """What one open connection asks for, as far as Coinbase has neither confirmed nor refused it.

    Args:
        subscriptions: all of the connection; its opening asks for them.
        encode: makes requests for some of them.
        under_way: ns after a refusal in which others are of requests that were sent before; 0 where the opening is one request.

    Attributes:
        is_single: whether they are asked for one after the other, and `due` is to be called with each message.

    Example:
        >>> from gb_pipeline.collectors.messages import MessageRows
        >>> names = ["BTC-USD", "BTX-USD"]
        >>> items = [Subscription(StreamDataset.TRADES, name, name) for name in names]
        >>> asking = Asking(items, lambda items: [item.symbol.encode() for item in items])
        >>> asking.refuse("BTX-USD is not a valid product", 1, MessageRows())
        [b'BTC-USD']
    """

    __slots__ = ("_alone", "_begin", "_encode", "_open", "_queue", "_refused", "_under_way", "is_single")

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        encode: Callable[[Sequence[Subscription]], list[bytes]],
        under_way: int = 0,
    ) -> None:
        """Nothing is confirmed."""
        self._open = list(subscriptions)
        self._encode = encode
        self._refused: set[str] = set()
        self._queue: deque[Subscription] = deque()
        self._alone: Subscription | None = None
        self._under_way, self._begin = under_way, 0
        self.is_single = False

    def confirm(self, dataset: StreamDataset, symbol: str) -> None:
        """Note that Coinbase has taken a subscription."""
        self._open = [item for item in self._open if (item.dataset, item.symbol) != (dataset, symbol)]
        if self._alone is not None and self._alone not in self._open:
            self._alone = None

    def due(self, receive_time: int) -> list[bytes]:
        """Requests to send now; only the next one, once the one before was answered."""
        if not self.is_single or self._alone is not None or receive_time < self._begin:
            return []
        while self._queue:
            item = self._queue.popleft()
            if item in self._open:
                self._alone = item
                return self._encode([item])
        self.is_single = False
        return []

    def refuse(self, words: str, receive_time: int, rows: MessageRows) -> list[bytes]:
        """Note a refusal, as one of the product that it is about, as far as that can be known; requests to send now.

        Args:
            words: Coinbase's own.
            receive_time: ns since 1970 UTC.
            rows: signals are appended.
        """
        is_for_good = any(part in words.lower() for part in _FOR_GOOD)
        if self._alone is not None:
            item, self._alone = self._alone, None
            if is_for_good:
                self._deny([item], words, receive_time, rows)
            else:
                self._queue.append(item)
                self._begin = receive_time + _PAUSE
            return self.due(receive_time)
        if is_for_good and any(_names(words, product) for product in self._refused):
            # Of another request that was under way.
            return []
        named = [item for item in self._open if _names(words, item.venue_symbol)] if is_for_good else []
        if named:
            self._refused |= {item.venue_symbol for item in named}
            self._deny(named, words, receive_time, rows)
            return [] if self.is_single else self._encode(self._open)
        if is_for_good and "product" in words.lower() and len({item.venue_symbol for item in self._open}) > 1:
            if not self.is_single:
                self.is_single, self._begin = True, receive_time + self._under_way
                self._queue = deque(self._open)
            return self.due(receive_time)
        rows.deny(receive_time, words, _COMPARE if is_for_good else _LATER, permanent=is_for_good)
        return []

    def _deny(self, items: Sequence[Subscription], words: str, receive_time: int, rows: MessageRows) -> None:
        self._open = [item for item in self._open if item not in items]
        for item in items:
            rows.deny(receive_time, words, _COMPARE, dataset=item.dataset, symbol=item.symbol, permanent=True)


def _names(words: str, product: str) -> bool:
    """Whether a sentence has a product among its words: BTC-USD, but not within BTC-USDT."""
    return re.search(rf"(?<![\w-]){re.escape(product)}(?![\w-])", words) is not None
