"""Prometheus' own parser reads what a scrape of a collector shows."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gb_pipeline.collectors.metrics import LOOPBACK, _is_covered, serving_metrics
from gb_pipeline.collectors.state import CollectorState, StreamState
from gb_pipeline.errors import ConfigError

BTC = StreamState(
    "kraken", "trades", "BTC-USD", "kraken-1", connected=True, messages=1_000, rows=990, lag_ms=250.0, gaps=2,
    last_message_time=1_700_000_000_500_000_000,
)  # fmt: skip
ETH = StreamState("kraken", "book_updates", 'E"T\\H', "kraken-1", open_gap="disconnect")
STATE = CollectorState(
    "one", 7, "1.2.3", 1_600_000_000_000_000_000, 1_700_000_000_000_000_000, (BTC, ETH), queue_seconds=0.25, spool_bytes=5,
)  # fmt: skip


class Scraped:
    """A collector whose state a test sets, and what a scrape shows of it."""

    port = 0
    state: CollectorState | None = None

    def samples(self) -> dict[tuple[str, str], float]:
        """Values by name and symbol."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        return {
            (item.name, item.labels.get("symbol", "")): item.value for family in families for item in family.samples
        }


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    found = Scraped()
    with serving_metrics(lambda: found.state, 0) as found.port:
        yield found


def test_a_scrape_shows_the_newest_state(scraped: Scraped) -> None:
    assert scraped.samples() == {("gb_collector_up", ""): 0.0}
    scraped.state = STATE
    samples = scraped.samples()
    assert samples["gb_collector_up", ""] == 1
    assert samples["gb_collector_messages_total", "BTC-USD"] == 1_000
    assert samples["gb_collector_gaps_total", "BTC-USD"] == 2
    assert samples["gb_collector_lag_seconds", "BTC-USD"] == 0.25
    assert samples["gb_collector_last_message_timestamp_seconds", "BTC-USD"] == 1_700_000_000.5
    assert samples["gb_collector_stream_covered", "BTC-USD"] == 1
    assert _is_covered(replace(BTC, begun=False)) == 0
    assert samples["gb_collector_stream_covered", 'E"T\\H'] == 0
    assert ("gb_collector_lag_seconds", 'E"T\\H') not in samples
    assert samples["gb_collector_queue_seconds", ""] == 0.25
    assert samples["gb_collector_flush_failing", ""] == 0
    assert samples["gb_collector_info", ""] == 1
    scraped.state = replace(STATE, streams=(replace(BTC, messages=1_001),), flush_error="no bucket", stopped=True)
    samples = scraped.samples()
    assert samples["gb_collector_messages_total", "BTC-USD"] == 1_001
    assert samples["gb_collector_flush_failing", ""] == 1
    assert samples["gb_collector_up", ""] == 0
    assert ("gb_collector_stream_covered", 'E"T\\H') not in samples


def test_every_number_of_a_stream_is_shown_and_names_follow_the_conventions(scraped: Scraped) -> None:
    numbers = [field.name for field in fields(StreamState) if field.type in {"int", "float", "bool"}]
    for name in numbers:
        scraped.state = replace(STATE, streams=(BTC,))
        before = scraped.samples()
        value = getattr(BTC, name)
        scraped.state = replace(
            STATE, streams=(replace(BTC, **{name: not value if isinstance(value, bool) else value + 1}),)
        )
        changed = [key for key, number in scraped.samples().items() if before[key] != number]
        # Rates are made of the counters by who asks.
        assert bool(changed) != name.endswith("_per_second"), name
    assert all(name.startswith("gb_collector_") for name, _ in before)


def test_only_loopback_is_listened_to_and_a_port_that_is_taken_is_told() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        with pytest.raises(ConfigError) as refused, serving_metrics(lambda: None, taken.getsockname()[1]):
            pass
        assert refused.value.fix == "name another --metrics-port"
