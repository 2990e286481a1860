"""Tokens of the API: who may do what, and until when. Only hashes are stored; a token itself is shown once, when it is made.

The file is in the lake's state, readable by its owner alone. A server looks at it before each request, so that a token that is
revoked is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock

from gb_pipeline.config.private_files import private_file, private_folder
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.storage.commit import Clock, wall_clock

_PREFIX = "gb"
_MOST_NAME = 64
# Compared with what was sent for an id that there is not, so that both answers take alike.
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


class Scope(StrEnum):
    """What a token may do. `admin` may do everything, and nothing else contains another one."""

    READ = "read"
    """Bars, trades, books, and what is known of them."""
    WRITE = "write"
    """Upload bars and results."""
    SQL = "sql"
    """Read by queries in SQL."""
    ADMIN = "admin"
    """All of it, and see the server's own figures."""


@dataclass(frozen=True)
class Token:
    """One token as it is stored.

    Attributes:
        id: public: it stands in listings and in the access log.
        name: whom or what it is for.
        scopes: what it may do.
        hash: hexadecimal SHA-256 of its secret, which is 256 random bits: nothing that could be guessed.
        created, expires, revoked: moments in UTC; it never expires where `expires` is None.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    hash: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def is_valid(self, now: datetime) -> bool:
        """Whether it can be used at a moment."""
        return self.revoked is None and (self.expires is None or now < self.expires)


class TokenStore:
    """The tokens of one lake on this machine. Safe to share between threads and processes."""

    def __init__(self, state: Path, *, clock: Clock = wall_clock) -> None:
        """Nothing is opened or made.

        Args:
            state: the lake's folder of state.
            clock: the present.
        """
        self._file, self._clock = state / "api" / "tokens.json", clock
        self._guard = threading.Lock()
        self._known: tuple[object, dict[str, Token]] | None = None

    def create(self, name: str, scopes: Iterable[Scope | str], *, expires: datetime | None = None) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: whom or what it is for, to find it again.
            scopes: at least one.
            expires: in the future; None for never.

        Returns:
            The token as it is stored, and its text, which nobody can find out again.

        Raises:
            ConfigError: no such scope, no name, or a moment that has passed.

        Example:
            >>> token, text = TokenStore(lake.store.storage.state).create("notebook", ["read", "sql"])
            >>> text
            'gb_5f1c2a9b_...'
        """
        chosen = tuple(dict.fromkeys(_scope(item) for item in scopes))
        now = self._clock()
        if not chosen:
            raise ConfigError("a token without a scope can do nothing", fix=f"name some of {', '.join(Scope)}")
        if not name.strip() or len(name) > _MOST_NAME or not name.isprintable():
            raise ConfigError(f"{name!r:.80} is no name of a token", fix=f"use 1 to {_MOST_NAME} printable characters")
        if expires is not None and expires <= now:
            raise ConfigError(f"{expires:%Y-%m-%d %H:%M} has passed", fix="let a token expire in the future")
        secret = secrets.token_urlsafe(32)
        token = Token(secrets.token_hex(4), name, chosen, _hash(secret), now, expires)
        with self._locked():
            tokens = self._read()
            while token.id in tokens:
                token = replace(token, id=secrets.token_hex(4))
            self._write({**tokens, token.id: token})
        return token, f"{_PREFIX}_{token.id}_{secret}"

    def list(self) -> list[Token]:
        """All tokens that were made, revoked and expired ones too, the oldest first."""
        return sorted(self._read().values(), key=lambda token: (token.created, token.id))

    def revoke(self, id: str) -> Token:
        """Let a token be refused from now on.

        Raises:
            ConfigError: there is no such token.
        """
        with self._locked():
            tokens = self._read()
            if id not in tokens:
                raise ConfigError(f"there is no token {id!r:.40}", fix="`gb token list` has the ids")
            token = tokens[id]
            if token.revoked is None:
                token = replace(token, revoked=self._clock())
                self._write({**tokens, id: token})
        return token

    def any_valid(self) -> bool:
        """Whether there is a token that can be used."""
        now = self._clock()
        return any(token.is_valid(now) for token in self._current().values())

    @property
    def in_use(self) -> bool:
        """Whether a token was ever made: from then on every request needs one, also when all are revoked or expired."""
        return bool(self._current())

    def find(self, text: str) -> Token | None:
        """The token whose text this is; None where there is none that can be used. Takes alike for every wrong text."""
        _, _, rest = text.partition("_")
        id, _, secret = rest.partition("_")
        token = self._current().get(id)
        same = hmac.compare_digest(_hash(secret), token.hash if token is not None else _NOBODY)
        valid = token is not None and token.is_valid(self._clock())
        return token if same and valid and text.startswith(f"{_PREFIX}_") else None

    def _current(self) -> dict[str, Token]:
        with self._guard:
            mark = self._mark()
            if self._known is None or self._known[0] != mark:
                self._known = mark, self._read()
            return self._known[1]

    def _mark(self) -> object:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _locked(self) -> FileLock:
        private_folder(self._file.parent)
        return FileLock(private_file(self._file.with_suffix(".lock")))

    def _read(self) -> dict[str, Token]:
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            return {token.id: token for token in map(_parse, document["tokens"])}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{self._file} cannot be read: {type(error).__name__}", fix="delete it and make new tokens"
            ) from None

    def _write(self, tokens: dict[str, Token]) -> None:
        text = json.dumps(
            {"tokens": [asdict(token) for token in tokens.values()]}, default=datetime.isoformat, indent=1
        )
        # Made with mode 600.
        handle, name = tempfile.mkstemp(dir=self._file.parent, prefix="tokens-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(self._file)


def _scope(value: Scope | str) -> Scope:
    if value not in list(Scope):
        raise ConfigError(f"{value!r:.40} is not a scope", fix=f"use {', '.join(Scope)}")
    return Scope(value)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _parse(document: dict[str, Any]) -> Token:
    dates = {
        name: None if document[name] is None else datetime.fromisoformat(document[name])
        for name in ("created", "expires", "revoked")
    }
    return Token(**{**document, **dates, "scopes": tuple(map(Scope, document["scopes"]))})
