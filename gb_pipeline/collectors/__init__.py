"""This package hears trades and order books around the clock, and commits them with evidence of what was heard and what is missing.

Data flows one way: a connection hands each message to the decoder of its venue (`venues`), which appends rows to `MessageRows`;
these become columns once a second, go to the spool, and from there into the lake. Whoever reads asks `reading`.

    >>> from gb_pipeline.collectors import MessageRows, Signal, Subscription, Venue

The names of this module are what the author of a venue needs, and nothing else.
"""

from gb_pipeline.collectors.messages import MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue

__all__ = ["Connection", "Decoder", "MessageRows", "Signal", "Subscription", "TimeUnit", "Venue"]
