"""Answers to keep, and a real Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator

import polars as pl
import pytest

from gb_pipeline.caching.key import Key, digest_of
from gb_pipeline_tests.redis_server import find_redis, running_redis

LAKE = "0123456789ab"


def key_of(number: int, *, lake: str = LAKE) -> Key:
    """One of many keys."""
    return Key(lake, digest_of([number]), f"bars:{{AAPL}}:1d:{number}:{number + 1}")


def frame_of(number: int, rows: int = 100) -> pl.DataFrame:
    """A frame that no other number has."""
    numbers = pl.int_range(number, number + rows, eager=True)
    return pl.DataFrame(
        {
            "symbol": pl.Series(["AAPL"] * rows),
            "timestamp": numbers.cast(pl.Datetime("us", "UTC")),
            "close": numbers.cast(pl.Decimal(18, 8)),
            "vwap": numbers.cast(pl.Float64).set(numbers % 3 == 0, None),
        }
    )


@pytest.fixture(scope="session")
def one_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_redis() is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("no redis-server is installed")
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(one_redis: str) -> str:
    """The address of an empty Redis."""
    import redis

    with redis.Redis.from_url(one_redis) as client:
        client.flushall()
    return one_redis
