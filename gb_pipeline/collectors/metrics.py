"""This module shows the state of a collector to Prometheus; it needs the extra `metrics`, and is imported by nothing else.

Every number is that of `state`, at the moment of the scrape. Names follow Prometheus' conventions: base units, `_total` for what
only grows. Only the loopback interface is listened to, unless somebody says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from gb_pipeline.collectors.state import CollectorState, StreamState
from gb_pipeline.errors import ConfigError

LOOPBACK = "127.0.0.1"
_SECOND = 1e9
_LABELS = ("source", "dataset", "symbol")
_Read = Callable[[], CollectorState | None]


@dataclass(frozen=True)
class _Shown:
    """A number of the state: its name, what it is, and whether it only grows."""

    name: str
    meaning: str
    value: Callable[[Any], float | None]
    counter: bool = False


def _moment(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / _SECOND


def _is_covered(of: Any) -> float:
    return float(of.connected and of.begun and not of.open_gap)


_OF_STREAM = (
    _Shown("messages", "Messages heard since the start.", lambda of: of.messages, counter=True),
    _Shown("rows", "Rows that are stored or wait for it, since the start.", lambda of: of.rows, counter=True),
    _Shown("refused_rows", "Rows that went to quarantine since the start.", lambda of: of.refused, counter=True),
    _Shown("gaps", "Stretches that were not covered, since the start.", lambda of: of.gaps, counter=True),
    _Shown("healed_gaps", "Stretches that were closed afterwards, since the start.", lambda of: of.healed, counter=True),
    _Shown("missing_messages", "Messages in gaps, where the venue's numbers tell.", lambda of: of.missing, counter=True),
    _Shown("stream_connected", "Whether the subscription stands.", lambda of: float(of.connected)),
    _Shown("stream_stalled", "Whether nothing came for longer than stalled_after.", lambda of: float(of.stalled)),
    _Shown("stream_covered", "Whether everything is heard at the moment.", _is_covered),
    _Shown("lag_seconds", "Receive time less exchange time of the newest message.", lambda of: of.lag_ms and of.lag_ms / 1000),
    _Shown("last_message_timestamp_seconds", "When the newest message came.", lambda of: _moment(of.last_message_time)),
)  # fmt: skip
_OF_COLLECTOR = (
    _Shown("reconnects", "Connections that were opened again since the start.", lambda of: of.reconnects, counter=True),
    _Shown("unreadable_messages", "Messages that were not understood, since the start.", lambda of: of.unreadable, counter=True),
    _Shown("queue_seconds", "Time span of what is heard and not in the spool yet.", lambda of: of.queue_seconds),
    _Shown("spool_bytes", "Bytes that wait for a flush.", lambda of: of.spool_bytes),
    _Shown("spool_rows", "Rows that wait for a flush.", lambda of: of.spool_rows),
    _Shown("spool_failing", "Whether the spool cannot be written.", lambda of: float(of.spool_error is not None)),
    _Shown("flush_failing", "Whether nothing can be committed.", lambda of: float(of.flush_error is not None)),
    _Shown("last_flush_timestamp_seconds", "When a flush committed last.", lambda of: _moment(of.last_flush_time)),
    _Shown("last_flush_duration_seconds", "How long the last flush took.", lambda of: of.last_flush_seconds),
    _Shown("start_time_seconds", "When the process began.", lambda of: _moment(of.started_time)),
    _Shown("state_timestamp_seconds", "When the collector wrote its state last.", lambda of: _moment(of.written_time)),
    _Shown("resident_memory_bytes", "Memory of the process.", lambda of: of.rss_bytes),
)  # fmt: skip


class StateMetrics(Collector):
    """The newest state of a collector as metrics.

    Args:
        read: the newest state; None where no collector ever ran, of which nothing but `gb_collector_up 0` is shown.
    """

    def __init__(self, read: _Read) -> None:
        """Nothing is read yet."""
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """What one scrape shows."""
        state = self._read()
        yield GaugeMetricFamily(
            "gb_collector_up",
            "Whether a collector has said something of itself and was not stopped.",
            value=float(state is not None and not state.stopped),
        )
        if state is None:
            return
        info = InfoMetricFamily("gb_collector", "The collector.", labels=("collector",))
        info.add_metric((state.collector,), {"version": state.version})
        yield info
        yield from (_family(shown, state.collector, (), [state]) for shown in _OF_COLLECTOR)
        yield from (_family(shown, state.collector, _LABELS, state.streams) for shown in _OF_STREAM)


def _family(
    shown: _Shown, collector: str, labels: tuple[str, ...], items: list[CollectorState] | tuple[StreamState, ...]
) -> Metric:
    kind = CounterMetricFamily if shown.counter else GaugeMetricFamily
    family = kind(f"gb_collector_{shown.name}", shown.meaning, labels=("collector", *labels))
    for item in items:
        if (value := shown.value(item)) is not None:
            family.add_metric((collector, *(getattr(item, label) for label in labels)), value)
    return family


@contextmanager
def serving_metrics(read: _Read, port: int, host: str = LOOPBACK) -> Iterator[int]:
    """Answer scrapes at `http://host:port/metrics` in a thread, for as long as this is open.

    Args:
        read: the newest state of the collector.
        port: to listen on; 0 for any that is free.
        host: address of an interface.

    Returns:
        The port that is listened on.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(StateMetrics(read))
    try:
        server, thread = start_http_server(port, host, registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics cannot be shown at {host}:{port}: {error.strerror or error}", fix="name another --metrics-port"
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
