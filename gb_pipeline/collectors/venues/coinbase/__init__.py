"""Coinbase's streams: `coinbase` is the feed of Advanced Trade, `coinbase_exchange` that of the Exchange, both of one market.

Advanced Trade is the one to use: it numbers every message of a connection, so that a missing update of a book is noticed, and its
books need no key. The Exchange's public books (`level2_batch`) carry no number at all; its trades do.
"""

from gb_pipeline.collectors.venues.coinbase.advanced import Coinbase
from gb_pipeline.collectors.venues.coinbase.exchange import CoinbaseExchange

__all__ = ["Coinbase", "CoinbaseExchange"]
