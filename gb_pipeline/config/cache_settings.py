"""This module holds where answers of a lake are kept: the section `cache` of gb.yaml."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gb_pipeline.config.cache import (
    DISK_MB,
    MEMORY_MB,
    NO_CACHE,
    TIMEOUT,
    TTL,
    CacheOptions,
    RedisOptions,
    with_variables,
)
from gb_pipeline.config.credentials import Credential
from gb_pipeline.config.durations import parse_duration
from gb_pipeline.config.suggestions import describe_problems
from gb_pipeline.errors import ConfigError


class DiskCacheSettings(BaseModel):
    """Files that all processes of this machine share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="whether files are kept; there are none without `disk`")
    folder: str | None = Field(
        default=None,
        description="of the files, relative to gb.yaml; `cache` in the folder of the lake's state by default",
    )
    max_size_mb: float = Field(
        default=DISK_MB, gt=0, allow_inf_nan=False, description="how many megabytes all files of the folder may take"
    )


class RedisCacheSettings(BaseModel):
    """A Redis, or a cluster of them, that several machines share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr = Field(
        description="its address, such as redis://:${REDIS_PASSWORD}@cache:6379/0; of a cluster that of one machine of it"
    )
    ttl: timedelta = Field(
        default=timedelta(seconds=TTL), description="how long an answer is kept there, such as 12h or 7d"
    )
    timeout_seconds: float = Field(
        default=TIMEOUT, gt=0, le=60, description="how long it may take to answer before a read goes on without it"
    )
    cluster: bool = Field(default=False, description="whether it is a cluster")

    @field_validator("ttl", mode="before")
    @classmethod
    def _length(cls, value: object) -> object:
        return value if isinstance(value, timedelta) else parse_duration(str(value))

    @field_validator("ttl")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise ValueError("an answer is kept for a second at least")
        return value


class CacheSettings(BaseModel):
    """Which answers are kept, and where.

    Example:
        >>> CacheSettings(max_size_mb=1000, disk=True).options(Path("/srv"), {}.get).disk
        True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="whether anything is kept")
    max_size_mb: float = Field(
        default=MEMORY_MB,
        ge=0,
        allow_inf_nan=False,
        description="how many megabytes a process keeps in memory; 0: none",
    )
    disk: DiskCacheSettings | None = Field(
        default=None, description="files that processes share: `true`, or a folder and a size"
    )
    redis: RedisCacheSettings | None = Field(
        default=None, description="a Redis that machines share: its address, or more"
    )

    @field_validator("disk", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        return {"enabled": value} if isinstance(value, bool) else value

    @field_validator("redis", mode="before")
    @classmethod
    def _address(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value

    def options(self, folder: Path, get: Callable[[str], str | None]) -> CacheOptions:
        """The same with variables filled in.

        Args:
            folder: of gb.yaml.
            get: the value of a variable; None where it is unset.

        Raises:
            ConfigError: the variable of the address of Redis is not set; the message names it.
        """
        if not self.enabled:
            return NO_CACHE
        disk = self.disk if self.disk is not None and self.disk.enabled else None
        place = None if disk is None or disk.folder is None else Credential.of(disk.folder, get).get_secret_value()
        return CacheOptions(
            self.max_size_mb,
            disk is not None,
            (folder / Path(place).expanduser()).resolve() if place else None,
            DISK_MB if disk is None else disk.max_size_mb,
            None if self.redis is None else _open(self.redis, get),
        )


def _open(redis: RedisCacheSettings, get: Callable[[str], str | None]) -> RedisOptions:
    address = Credential.of(redis.url.get_secret_value(), get)
    if not (url := address.get_secret_value()):
        names = " and ".join(address.variables)
        raise ConfigError(
            f"cache.redis.url cannot be used: the environment variable {names} is not set"
            if names
            else "cache.redis.url is empty",
            fix=f"set it, or write it into .env beside gb.yaml: {names}" if names else "name an address",
        )
    return RedisOptions(url, redis.ttl.total_seconds(), redis.timeout_seconds, redis.cluster)


def read_section(section: Any, file: Path, get: Callable[[str], str | None]) -> CacheOptions:
    """What a gb.yaml and the variables say.

    Args:
        section: of the file.
        get: gives the value of a variable of its environment.

    Raises:
        ConfigError: a setting or a variable that cannot be used.
    """
    try:
        settings = CacheSettings.model_validate(section)
    except ValidationError as error:
        problems = describe_problems(error, CacheSettings)
        raise ConfigError(f"{file}: cache: {problems}", fix="correct gb.yaml; the README lists every setting") from None
    return with_variables(settings.options(file.parent, get), get)
