"""`CacheOptions`, where answers of a lake are kept, from the section `cache` of gb.yaml and from GB_CACHE* variables.

Reading a lake needs nothing else where gb.yaml has no such section, which `config.cache_settings` validates.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gb_pipeline.errors import ConfigError

MEMORY_MB, DISK_MB = 256.0, 4096.0
# In seconds.
TTL, TIMEOUT = 86_400.0, 0.25
_YES, _NO = frozenset({"on", "yes", "true", "1"}), frozenset({"off", "no", "false", "0"})


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """A Redis, and for how long it keeps what.

    Attributes:
        url: such as `redis://:password@host:6379/0`; it is never shown.
        ttl: seconds after which it forgets an answer.
        timeout: seconds that it may take to answer before a read goes on without it.
        cluster: the address is that of one machine of a cluster.
    """

    url: str = field(repr=False)
    ttl: float = TTL
    timeout: float = TIMEOUT
    cluster: bool = False


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Where answers are kept, and how much of them.

    Attributes:
        memory_mb: of this process, in megabytes of 10^6 bytes; 0 keeps nothing.
        disk: whether files are kept as well.
        folder: of these files; `cache` in the lake's folder of state by default.
        disk_mb: how much they may take.
        redis: a Redis; None for none.

    Example:
        >>> lake = Lake.open("data", cache=CacheOptions(memory_mb=1000, disk=True))
    """

    memory_mb: float = MEMORY_MB
    disk: bool = False
    folder: Path | None = None
    disk_mb: float = DISK_MB
    redis: RedisOptions | None = None


NO_CACHE = CacheOptions(memory_mb=0)


def with_variables(options: CacheOptions, get: Callable[[str], str | None] = os.environ.get) -> CacheOptions:
    """Options, as variables change them: GB_CACHE (on, off), GB_CACHE_MB, GB_CACHE_DISK (on, off or a folder), GB_CACHE_DISK_MB
    and GB_CACHE_REDIS (an address).

    Raises:
        ConfigError: a variable that is none of these.
    """
    wanted = get("GB_CACHE") or ""
    if wanted and wanted.lower() not in _YES | _NO:
        raise ConfigError(f"GB_CACHE is {wanted!r:.40}", fix="set it to on or off")
    if wanted.lower() in _NO:
        return NO_CACHE
    if wanted and options == NO_CACHE:
        options = CacheOptions()
    memory, size = _megabytes("GB_CACHE_MB", get), _megabytes("GB_CACHE_DISK_MB", get)
    disk, redis = get("GB_CACHE_DISK"), get("GB_CACHE_REDIS")
    if memory is not None:
        options = replace(options, memory_mb=memory)
    if size is not None:
        options = replace(options, disk_mb=size)
    if disk and disk.lower() in _YES | _NO:
        options = replace(options, disk=disk.lower() in _YES)
    elif disk:
        options = replace(options, disk=True, folder=Path(disk).expanduser().absolute())
    if redis:
        known = options.redis
        options = replace(options, redis=RedisOptions(redis) if known is None else replace(known, url=redis))
    return options


def _megabytes(name: str, get: Callable[[str], str | None]) -> float | None:
    text = get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ConfigError(f"{name} is {text!r:.40}", fix="set it to a number of megabytes, such as 512")
    return number
