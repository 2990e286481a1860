"""This module makes rows of `connection_events` of what happened to a connection or to a whole collector."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from gb_pipeline.collectors.messages import Signal
from gb_pipeline.lake.datasets import CONNECTION_EVENTS
from gb_pipeline.market.moments import from_microseconds
from gb_pipeline.market.schema import polars_schema

EVENTS = polars_schema(CONNECTION_EVENTS.columns)
_MICROSECOND = 1_000


def event_row(signal: Signal, source: str, collector: str, connection: str | None = None) -> dict[str, Any]:
    """A row of `connection_events`: of a connection, or of the whole collector where it is None."""
    return {
        "source": source, "timestamp": from_microseconds(signal.receive_time // _MICROSECOND),
        "event_time": signal.receive_time, "kind": signal.kind.value,
        "dataset": None if signal.dataset is None else signal.dataset.value, "symbol": signal.symbol,
        "connection": connection, "collector": collector, "first_sequence": signal.first_sequence,
        "last_sequence": signal.last_sequence,
        "detail": json.dumps(signal.detail, ensure_ascii=False) if signal.detail else None,
    }  # fmt: skip


def event_rows(signals: Iterable[Signal], source: str, collector: str) -> pl.DataFrame:
    """What happened to a collector itself: rows of `connection_events`."""
    return pl.DataFrame([event_row(item, source, collector) for item in signals], schema=EVENTS, orient="row")
