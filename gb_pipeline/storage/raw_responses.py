"""This module keeps the vendor's own bytes as they came, and proves on every read that they still are.

Which fetch had which bodies is recorded in `lake.fetches`, and they are parsed again in `provenance.replay`. Credentials are
removed before a body comes here.

A body is stored once, in `<root>/raw/<first two digits>/<SHA-256>.zst`, a plain zstd file that `zstd -d` reads as well.
Only the owner of the lake enters the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gb_pipeline.config.private_files import private_folder, private_opener
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.files import sync

_LEVEL = 3
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RawBody:
    """What is known of a kept body without handing it over.

    Attributes:
        hash: SHA-256 of its bytes, 64 digits.
        path: its file.
        state: `intact`, `missing`, or `damaged` where its bytes are not those that the name promises.
        bytes: size as it came; 0 unless intact.
        stored_bytes: size of the file; 0 where it is missing.
    """

    hash: str
    path: Path
    state: str
    bytes: int = 0
    stored_bytes: int = 0


class RawStore:
    """Kept bodies of one lake. Any number of processes may write at once: the same name always means the same bytes.

    Args:
        storage: of the lake; the folder is made by the first body.

    Example:
        >>> store = RawStore(Storage.at("data"))
        >>> store.get(store.put(b'{"candles":[]}'))
        b'{"candles":[]}'
    """

    def __init__(self, storage: Storage) -> None:
        """Nothing is opened."""
        self._folder = storage.raw

    def path(self, name: str) -> Path:
        """The path of a body with this hash, whether it exists or not.

        Raises:
            LakeError: that is not a SHA-256 in hexadecimal.
        """
        if not _HASH.fullmatch(name):
            raise LakeError(f"{name[:80]!r} is not a SHA-256", fix="take hashes from the column `raw` of `fetches`")
        return self._folder / name[:2] / f"{name}.zst"

    def put(self, body: bytes) -> str:
        """Keep a body, durably, and at once: it is there after a power cut.

        A body that is there already is not written again, unless its file is damaged.

        Returns:
            Its SHA-256.

        Raises:
            LakeError: it cannot be written; nothing of it is left.
        """
        name = hashlib.sha256(body).hexdigest()
        path = self.path(name)
        if self.inspect(name).state == "intact":
            return name
        temporary = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
        is_new_folder = not path.parent.is_dir()
        try:
            private_folder(private_folder(self._folder) / path.parent.name)
            # The umask does not decide who reads what a vendor was paid for.
            with open(temporary, "wb", opener=private_opener) as file:
                file.write(_compress(body))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(path.parent)
            if is_new_folder:
                sync(self._folder)
                sync(self._folder.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise LakeError(
                f"a response could not be kept in {self._folder}: {error.strerror or error}",
                fix="check free space and permissions (`gb doctor`), or set `keep_raw: false`; then run it again",
            ) from error
        return name

    def get(self, name: str) -> bytes:
        """A body by its hash.

        Raises:
            LakeError: it is not there, or its file is damaged.
        """
        path = self.path(name)
        try:
            body = _decompress(path)
        except FileNotFoundError:
            raise LakeError(f"the response {name} is not there: {path}", fix="restore it, or fetch again") from None
        except (OSError, pa.ArrowException):
            body = b""
        if hashlib.sha256(body).hexdigest() != name:
            raise LakeError(
                f"the response in {path} is damaged: its bytes are not those it is named after",
                fix="restore the file; or delete it and fetch again",
            )
        return body

    def inspect(self, name: str) -> RawBody:
        """Whether a body is there and whole; its bytes are read and hashed.

        Raises:
            LakeError: that is not a SHA-256 in hexadecimal.
        """
        path = self.path(name)
        if not path.is_file():
            return RawBody(name, path, "missing")
        stored = path.stat().st_size
        try:
            return RawBody(name, path, "intact", len(self.get(name)), stored)
        except LakeError:
            return RawBody(name, path, "damaged", 0, stored)


def _compress(body: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd", _LEVEL).compress(body, asbytes=True)
    return packed


def _decompress(path: Path) -> bytes:
    # A stream needs no size beforehand, and ends with an error where the file ends too early.
    with pa.input_stream(str(path), compression="zstd") as stream:
        body: bytes = stream.read()
    return body
