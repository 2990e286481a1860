"""This module names places in an object store: `s3://<bucket>/<prefix>`, and how the store is reached.

Nothing is asked of the store here; files in it are read and written by `gb_pipeline.storage.bucket_files`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gb_pipeline.config.suggestions import suggest
from gb_pipeline.errors import ConfigError

SCHEME = "s3://"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._=@+-]+(/[A-Za-z0-9._=@+-]+)*")
# Setting of gb.yaml: the variables that count without it, the first one that is set.
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}


@dataclass(frozen=True)
class Bucket:
    """A place in an object store. As text it is its address, without anything secret.

    Attributes:
        name: of the bucket.
        prefix: what all names in it begin with, without slashes at its ends; empty for the whole bucket.
        endpoint: address of the store; Amazon's by default.
        region: of the bucket.
        access_key_id, secret_access_key, session_token: credentials; without them the usual places of AWS are looked at
            (profiles, roles of a machine).

    Example:
        >>> str(Bucket.parse("s3://bars/lake/"))
        's3://bars/lake'
    """

    name: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls, address: str, settings: Mapping[str, object] | None = None, get: Callable[[str], str | None] | None = None
    ) -> Bucket:
        """A place by its address.

        Args:
            address: `s3://bucket/prefix`.
            settings: what gb.yaml says under `s3`; the usual variables of AWS count for what it leaves out.
            get: looks a variable up; in this process's environment by default.

        Raises:
            ConfigError: the address or a setting cannot be used; no credential is in the message.
        """
        lookup = get or (lambda name: os.environ.get(name) or None)
        name, prefix = _parts(address)
        given = _check(settings or {})
        values = {
            option: given.get(option) or next(filter(None, map(lookup, names)), None)
            for option, names in VARIABLES.items()
        }
        endpoint = values["endpoint"]
        if endpoint is not None and not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+/?", endpoint):
            raise ConfigError(
                "the endpoint of the object store is not an address", fix="write it as https://host or http://host:port"
            )
        if (values["access_key_id"] is None) != (values["secret_access_key"] is None):
            missing = next(option for option in ("access_key_id", "secret_access_key") if values[option] is None)
            raise ConfigError(
                f"of the credentials of {address} only one is known",
                fix=f"set {VARIABLES[missing][0]}, or `{missing}` under `s3` in gb.yaml",
            )
        return cls(name, prefix, **values)

    def __str__(self) -> str:
        """The address."""
        return f"{SCHEME}{self.name}/{self.prefix}" if self.prefix else f"{SCHEME}{self.name}"

    @property
    def default_state(self) -> Path:
        """The folder in which this machine keeps locks and limits of a lake in this place, and a copy of its catalog."""
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        place = hashlib.sha256(f"{self.endpoint or ''} {self}".encode()).hexdigest()[:12]
        return base / "gb_pipeline" / f"{self.name}-{place}"


# Where a lake may be stored.
Address = Path | Bucket


def is_bucket(address: object) -> bool:
    """Whether a text or path is the address of an object store; a path has lost one of its slashes."""
    return str(address).startswith((SCHEME, "s3:/"))


def same_place(one: Address, other: Address) -> bool:
    """Whether two addresses mean the same place."""
    if isinstance(one, Bucket) or isinstance(other, Bucket):
        return str(one) == str(other)
    return one.resolve() == other.resolve()


def _parts(address: str) -> tuple[str, str]:
    text = address.removeprefix(SCHEME) if address.startswith(SCHEME) else address.removeprefix("s3:/")
    name, _, prefix = text.partition("/")
    prefix = prefix.rstrip("/")
    if not _NAME.fullmatch(name):
        # A name with an @ may hold a password.
        raise ConfigError("the address of the object store has no name of a bucket", fix="write s3://bucket/prefix")
    if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise ConfigError(
            f"the prefix of {SCHEME}{name} cannot be used: {prefix[:80]!r}",
            fix="use letters, digits and . _ = @ + - between single slashes",
        )
    return name, prefix


def _check(settings: Mapping[str, object]) -> dict[str, str | None]:
    for option, value in settings.items():
        if option not in VARIABLES:
            raise ConfigError(f"s3 has no setting {option!r}", fix=suggest(str(option), list(VARIABLES), "it has"))
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"s3.{option} is not a text", fix="write it in quotes")
    return {option: str(value) if value else None for option, value in settings.items()}
