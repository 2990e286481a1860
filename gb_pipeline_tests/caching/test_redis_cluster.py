"""Answers in a real cluster of three, spread by symbol."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from gb_pipeline.caching.key import Key, digest_of
from gb_pipeline.caching.redis_store import RedisStore
from gb_pipeline.config.cache import RedisOptions
from gb_pipeline.dagster_runtime.instance import find_free_port
from gb_pipeline_tests.caching.conftest import LAKE, frame_of
from gb_pipeline_tests.redis_server import find_redis

_SLOTS = ((0, 5460), (5461, 10922), (10923, 16383))
pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[int]]:
    """The ports of three servers, each of which has a third of the slots."""
    if find_redis() is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("no redis-server is installed")
    with ExitStack() as stack:
        ports = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            port = find_free_port()
            # By default their own line is 10,000 higher, which a high port has not.
            settings = f"--bind 127.0.0.1 --port {port} --cluster-enabled yes --cluster-port {find_free_port()} --save"
            log = stack.enter_context((folder / "log").open("wb"))
            process = subprocess.Popen(
                [str(find_redis()), *settings.split(), ""], cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            ports.append(port)
        clients = [stack.enter_context(redis.Redis(port=port, host="127.0.0.1")) for port in ports]
        for client, (first, last) in zip(clients, _SLOTS, strict=True):
            wait(lambda client=client: client.ping())
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        for client, port in zip(clients[1:], ports[1:], strict=True):
            own = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, own)
        for client in clients:
            wait(lambda client=client: client.cluster("INFO")["cluster_state"] == "ok")
        yield ports


def wait(condition: object) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            if condition():  # type: ignore[operator]
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < until
        time.sleep(0.05)


def keys(symbol: str) -> list[Key]:
    return [
        Key(LAKE, digest_of([symbol, number]), f"bars:{{{symbol}}}:1d:{number}:{number + 1}") for number in range(3)
    ]


def test_answers_of_a_symbol_lie_on_one_machine_and_all_are_found(cluster: list[int]) -> None:
    options = RedisOptions(f"redis://127.0.0.1:{cluster[1]}", timeout=10, cluster=True)
    store = RedisStore(options)
    symbols = [f"S{number:03}-USD" for number in range(30)]
    for number, symbol in enumerate(symbols):
        for key in keys(symbol):
            store.put(key, frame_of(number))
    other = RedisStore(options)
    for number, symbol in enumerate(symbols):
        for key in keys(symbol):
            found = other.get(key)
            assert found is not None and found.equals(frame_of(number))
    lying = []
    for port in cluster:
        with redis.Redis(port=port, host="127.0.0.1") as client:
            lying.append({name.split(b"}")[0] for name in client.keys("bars:*")})
    assert sum(map(len, lying)) == len(symbols), "no symbol lies on two machines"
    assert all(lying), "each machine has some"
    store.write_mark(LAKE, "removed-1m", "x")
    assert other.read_mark(LAKE, "removed-1m") == "x"
    measured = other.measure(LAKE)
    assert measured is not None and measured[0] == 90
    assert other.clear(LAKE) == measured
    assert store.measure(LAKE) == (0, 0)
