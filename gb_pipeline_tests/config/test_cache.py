"""The section `cache` of gb.yaml, and the variables that change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.config.cache import NO_CACHE, CacheOptions, RedisOptions, with_variables
from gb_pipeline.config.cache_settings import read_section
from gb_pipeline.errors import ConfigError

_DOCUMENTED = {
    "max_size_mb": 1000,
    "disk": {"folder": "/var/cache/gb", "max_size_mb": 20000},
    "redis": {"url": "redis://:${REDIS_PASSWORD}@cache:6379/0", "ttl": "7d"},
}


def read(section: object, **variables: str) -> CacheOptions:
    return read_section(section, Path("/project/gb.yaml"), variables.get)


def test_some_memory_is_used_and_nothing_else_where_nothing_is_said() -> None:
    assert read({}) == CacheOptions(memory_mb=256, disk=False, redis=None)


def test_every_setting_counts() -> None:
    assert read(_DOCUMENTED, REDIS_PASSWORD="PLANTED") == CacheOptions(
        1000, True, Path("/var/cache/gb"), 20000, RedisOptions("redis://:PLANTED@cache:6379/0", 7 * 86400)
    )
    assert read({"disk": True}) == CacheOptions(disk=True)
    assert read({"disk": {"folder": "kept"}}).folder == Path("/project/kept")
    assert read({"disk": {"enabled": False}}) == read({"disk": False}) == CacheOptions()
    assert read({"redis": "redis://cache"}).redis == RedisOptions("redis://cache")
    assert read({"redis": {"url": "redis://a", "timeout_seconds": 2, "cluster": True}}).redis == RedisOptions(
        "redis://a", timeout=2, cluster=True
    )
    assert read({"enabled": False, "disk": True}) == NO_CACHE


def test_variables_count_more_than_the_file() -> None:
    assert read(_DOCUMENTED, REDIS_PASSWORD="x", GB_CACHE="off") == NO_CACHE
    assert read({"enabled": False}, GB_CACHE="on") == CacheOptions()
    assert read({"max_size_mb": 5}, GB_CACHE_MB="7", GB_CACHE_DISK_MB="9") == CacheOptions(7, disk_mb=9)
    assert read({"disk": True}, GB_CACHE_DISK="off") == CacheOptions()
    assert read({}, GB_CACHE_DISK="/kept") == CacheOptions(disk=True, folder=Path("/kept"))
    changed = read(_DOCUMENTED, REDIS_PASSWORD="x", GB_CACHE_REDIS="redis://other").redis
    assert changed == RedisOptions("redis://other", 7 * 86400)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"disc": True}, "disk"),
        ({"max_size_mb": -1}, "max_size_mb"),
        ({"disk": {"max_size_mb": 0}}, "disk.max_size_mb"),
        ({"redis": {"url": "redis://a", "ttl": "0s"}}, "redis.ttl"),
        ({"redis": {"url": "redis://a", "timeout_seconds": 0}}, "redis.timeout_seconds"),
        ({"redis": {}}, "redis.url"),
        ({"redis": "redis://:${UNSET_PASSWORD}@a"}, "UNSET_PASSWORD"),
        ("yes", "cache"),
        ([1], "cache"),
    ],
)
def test_what_cannot_be_used_is_named(section: object, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(section)
    assert told in error.value.what
    assert error.value.fix


@pytest.mark.parametrize(
    "variable", [{"GB_CACHE": "maybe"}, {"GB_CACHE_MB": "a lot"}, {"GB_CACHE_DISK_MB": "-1"}, {"GB_CACHE_MB": "nan"}]
)
def test_a_variable_that_cannot_be_used_is_named(variable: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(variable))):
        with_variables(CacheOptions(), variable.get)


def test_no_password_is_ever_shown() -> None:
    options = read({"redis": "redis://:${P}@cache"}, P="PLANTED")
    assert "PLANTED" not in f"{options} {options!r}"
    assert options.redis is not None and options.redis.url == "redis://:PLANTED@cache"
    with pytest.raises(ConfigError) as error:
        read({"redis": {"url": "redis://:PLANTED@a", "ttl": "soon"}})
    assert "PLANTED" not in str(error.value)
