"""Answers in a real Redis, and one that is down, slow, full or says something else."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import redis

from gb_pipeline.caching.redis_store import RedisStore, host_of
from gb_pipeline.config.cache import CacheOptions, RedisOptions
from gb_pipeline.dagster_runtime.instance import find_free_port
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.caching.conftest import LAKE, frame_of, key_of
from gb_pipeline_tests.redis_server import PASSWORD


def test_an_answer_is_there_for_another_machine_for_a_time(redis_url: str) -> None:
    RedisStore(RedisOptions(redis_url, ttl=90)).put(key_of(1), frame_of(1))
    other = RedisStore(RedisOptions(redis_url))
    found = other.get(key_of(1))
    assert found is not None
    assert (found.schema, found.equals(frame_of(1))) == (frame_of(1).schema, True)
    assert other.get(key_of(2)) is None
    with redis.Redis.from_url(redis_url) as client:
        [name] = client.keys("*")
        assert name.decode() == f"bars:{{AAPL}}:1d:1:2:{LAKE}:{key_of(1).digest}"
        assert 80 < client.ttl(name) <= 90


def test_answers_of_one_lake_are_counted_and_cleared(redis_url: str) -> None:
    store = RedisStore(RedisOptions(redis_url))
    other = key_of(1, lake="ba9876543210")
    for number in range(5):
        store.put(key_of(number), frame_of(number))
    store.put(other, frame_of(7))
    measured = store.measure(LAKE)
    assert measured is not None and measured[0] == 5 and measured[1] > 5000
    assert store.clear(LAKE) == measured
    assert (store.measure(LAKE), store.get(key_of(1))) == ((0, 0), None)
    assert store.get(other) is not None


@pytest.mark.parametrize("planted", [b"", b"nonsense", b"\0" * 5000])
def test_what_is_not_an_answer_is_removed(redis_url: str, caplog: pytest.LogCaptureFixture, planted: bytes) -> None:
    store = RedisStore(RedisOptions(redis_url))
    with redis.Redis.from_url(redis_url) as client:
        client.set(key_of(1).name, planted)
        assert store.get(key_of(1)) is None
        assert client.exists(key_of(1).name) == 0
    assert "holds something else" in caplog.text
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(key_of(1).name, "a list")
    assert store.get(key_of(1)) is None


def test_a_full_redis_is_warned_of_once(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store = RedisStore(RedisOptions(redis_url))
    store.put(key_of(0), frame_of(0))
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 1)
        try:
            for number in range(1, 4):
                store.put(key_of(number), frame_of(number))
            assert store.get(key_of(0)) is not None, "what it has it still gives"
        finally:
            client.config_set("maxmemory", 0)
    assert caplog.text.count("it is full") == 1


def test_a_wrong_password_is_warned_of_and_never_shown(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    options = RedisOptions(redis_url.replace(PASSWORD, "PLANTED-wrong"))
    assert RedisStore(options).get(key_of(1)) is None
    assert "refuses the credentials" in caplog.text
    assert "PLANTED" not in caplog.text + repr(options) + host_of(options.url)


def test_an_address_that_cannot_be_used_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="address of Redis") as error:
        RedisStore(RedisOptions("http://:PLANTED@127.0.0.1"))
    assert "PLANTED" not in f"{error.value} {error.value.__cause__}"


def test_a_redis_that_is_down_is_left_alone_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    store = RedisStore(RedisOptions(f"redis://127.0.0.1:{find_free_port()}"), stopwatch=lambda: now[0])
    for _ in range(3):
        assert store.get(key_of(1)) is None
        store.put(key_of(1), frame_of(1))
    now[0] = 31
    assert (store.get(key_of(1)), store.measure(LAKE), store.clear(LAKE)) == (None, None, None)
    assert len([line for line in caplog.records if line.levelno == logging.WARNING]) == 1


def test_a_second_machine_is_answered_by_redis_and_sees_every_commit(redis_url: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    store = LakeStore.at(root)
    options = CacheOptions(0, redis=RedisOptions(redis_url, timeout=10))

    def ask() -> tuple[int, int]:
        lake = Lake(LakeStore.at(root), cache=options)
        wanted = Lake(LakeStore.at(root), cache=CacheOptions(0)).bars("BTC-USD", "1m", source="sim")
        assert lake.bars("BTC-USD", "1m", source="sim").equals(wanted)
        return lake.cache.hits, lake.cache.misses

    for base in (100, 200):
        store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 5, base=base))
        assert [ask(), ask()] == [(0, 1), (1, 0)]
    store.delete("sim", "BTC-USD", "1m", date(2024, 1, 2), reason="a test", purge=True)
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-03"), minutes("2024-01-03", 5))
    assert ask() == (0, 1)
    with redis.Redis.from_url(redis_url) as client:
        assert len(client.keys("bars:*")) == 1, "nothing of what was purged is left"


@contextmanager
def answering(words: bytes | None) -> Iterator[str]:
    """A server that answers everything with some bytes, or with nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connections = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                connections.append(connection)
                if words is not None:
                    connection.sendall(words * 200)
            for connection in connections:
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(30)


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b":x\r\n",
        b"$99999999999999999999\r\n",
        b"*-7\r\n",
        b"+OK\r\n",
        b"\0\xff",
        b"$x\r\n",
        b"*1\r\n:5\r\n",
        b":5\r\n",
        b"%1\r\n+a\r\n+b\r\n",
    ],
)
def test_a_server_that_says_anything_never_fails_an_answer(words: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with answering(words) as url:
        store = RedisStore(RedisOptions(url))
        assert store.get(key_of(1)) is None
        store.put(key_of(1), frame_of(1))
        assert store.read_mark(LAKE, "x") in {None, "OK"}
    assert len([line for line in caplog.records if line.name.startswith("gb_pipeline")]) <= 1


def test_a_server_that_says_nothing_is_waited_for_once(caplog: pytest.LogCaptureFixture) -> None:
    with answering(None) as url:
        store = RedisStore(RedisOptions(url, timeout=0.1))
        begun = time.monotonic()
        for _ in range(100):
            assert store.get(key_of(1)) is None
        assert time.monotonic() - begun < 8, "100 waits are 10 seconds"
    assert "does not answer in time" in caplog.text
