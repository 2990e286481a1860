"""This package hears trades and order books around the clock, and commits them with evidence of what was heard and what is missing.

Data flows one way: a connection hands each message to the decoder of its venue (`venues`), which appends rows to `MessageRows`;
these become columns once a second, go to the spool, and from there into the lake. Whoever reads asks `reading`.

    >>> from gb_pipeline.collectors import MessageRows, Signal, Subscription, Venue

The names of this module are what the author of a venue needs, and nothing else.
"""

from gb_pipeline.collectors.messages import MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    base_url_of,
    check_options,
    choice,
    credential,
    currency_pair,
    known_secrets,
    rest_client,
    rest_url,
    websocket_url,
)
from gb_pipeline.market.tick_schema import ConnectionEventKind, Side, StreamDataset

__all__ = [
    "Connection",
    "ConnectionEventKind",
    "Decoder",
    "MessageRows",
    "Side",
    "Signal",
    "StreamDataset",
    "Subscription",
    "TimeUnit",
    "Venue",
    "base_url_of",
    "check_options",
    "choice",
    "credential",
    "currency_pair",
    "known_secrets",
    "rest_client",
    "rest_url",
    "websocket_url",
]
