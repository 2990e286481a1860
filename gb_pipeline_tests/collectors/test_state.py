"""What a collector says of itself, and what becomes of it in a file."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors.state import STATE_FILE, CollectorState, StateError, StreamState

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_STREAMS = st.builds(
    StreamState,
    source=st.text(),
    dataset=st.text(),
    symbol=st.text(),
    connection=st.text(),
    messages_per_second=_NUMBERS,
    rows_per_second=_NUMBERS,
    lag_ms=st.none() | _NUMBERS,
)
_STATES = st.builds(
    CollectorState,
    collector=st.text(),
    pid=st.integers(),
    version=st.text(),
    started_time=st.integers(),
    written_time=st.integers(),
    streams=st.lists(_STREAMS, max_size=4).map(tuple),
    queue_seconds=_NUMBERS,
    last_flush_seconds=_NUMBERS,
)


@given(_STATES)
def test_what_is_written_is_what_is_read(state: CollectorState) -> None:
    assert CollectorState.from_json(state.to_json()) == state


@given(_STATES)
def test_what_a_newer_collector_says_besides_is_left_out(state: CollectorState) -> None:
    document = json.loads(state.to_json())
    document["mood"] = "good"
    document["streams"] = [stream | {"colour": "blue"} for stream in document["streams"]]
    assert CollectorState.from_json(json.dumps(document)) == state


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"streams": []}', '{"streams": 3}', '{"streams": [[]]}']
)
def test_what_is_no_state_is_an_error_that_says_so(text: str) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        CollectorState.from_json(text)


def test_a_reader_meets_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    streams = tuple(StreamState("kraken", "trades", f"S{number}-USD", "kraken-1") for number in range(300))
    states = [CollectorState("one", 7, "1.0", 0, number, streams) for number in range(60)]
    assert CollectorState.read(tmp_path) is None
    states[0].write(tmp_path)

    def write() -> None:
        for state in states:
            state.write(tmp_path)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(CollectorState.read(tmp_path))
    writer.join()
    assert seen
    assert all(state in states for state in seen)
    assert CollectorState.read(tmp_path) == states[-1]
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_gaps_are_counted_per_million_messages() -> None:
    busy = StreamState("kraken", "trades", "BTC-USD", "kraken-1", messages=900_000, gaps=1)
    quiet = StreamState("kraken", "trades", "ETH-USD", "kraken-1", messages=100_000, gaps=3)
    assert CollectorState("one", 7, "1.0", 0, 0, (busy, quiet)).gaps_per_million == 4.0
    assert CollectorState("one", 7, "1.0", 0, 0).gaps_per_million is None
