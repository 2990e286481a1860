"""This module keeps the vendor's own bytes as they came, and proves on every read that they still are.

Which fetch had which bodies is recorded in `lake.fetches`, and they are parsed again in `provenance.replay`. Credentials are
removed before a body comes here.

A body is stored once, in `<root>/raw/<first two digits>/<SHA-256>.zst`, a plain zstd file that `zstd -d` reads as well.
Only the owner of the lake enters the folder.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.parquet import means_damage

# Their folder, relative to the root of the lake.
RAW = "raw"
_LEVEL = 3
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RawBody:
    """What is known of a kept body without handing it over.

    Attributes:
        hash: SHA-256 of its bytes, 64 digits.
        address: of its file.
        state: `intact`, `missing`, or `damaged` where its bytes are not those that the name promises.
        bytes: size as it came; 0 unless intact.
        stored_bytes: size of the file; 0 where it is missing.
    """

    hash: str
    address: str
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
        self._files, self._root = storage.files, storage.root

    def address(self, name: str) -> str:
        """Where a body with this hash is, whether it exists or not.

        Raises:
            LakeError: that is not a SHA-256 in hexadecimal.
        """
        return f"{self._root}/{_file_name(name)}"

    def put(self, body: bytes) -> str:
        """Keep a body, durably, and at once: it is there after a power cut.

        A body that is there already is not written again, unless its file is damaged.

        Returns:
            Its SHA-256.

        Raises:
            LakeError: it cannot be written; nothing of it is left.
        """
        name = hashlib.sha256(body).hexdigest()
        if self.inspect(name).state == "intact":
            return name
        try:
            # The umask does not decide who reads what a vendor was paid for.
            self._files.put(_file_name(name), _compress(body), private=True)
        except OSError as error:
            raise LakeError(
                f"a response could not be kept in {self._root}/{RAW}: {error.strerror or error}",
                fix="check free space and permissions (`gb doctor`), or set `keep_raw: false`; then run it again",
            ) from error
        return name

    def get(self, name: str) -> bytes:
        """A body by its hash.

        Raises:
            LakeError: it is not there, or its file is damaged.
        """
        place = self.address(name)
        try:
            data = self._files.read(_file_name(name))
        except FileNotFoundError:
            raise LakeError(f"the response {name} is not there: {place}", fix="restore it, or fetch again") from None
        except OSError as error:
            if not means_damage(error):
                raise LakeError(
                    f"the response in {place} cannot be read: {error.strerror or error}",
                    fix="check permissions, the disk or the network (`gb doctor`); that says nothing of what is in it",
                ) from error
            data = b""
        body = _decompress(data)
        if hashlib.sha256(body).hexdigest() != name:
            raise LakeError(
                f"the response in {place} is damaged: its bytes are not those it is named after",
                fix="restore the file; or delete it and fetch again",
            )
        return body

    def remove(self, name: str) -> None:
        """Forget a body; nothing happens where it is not there."""
        self._files.delete(_file_name(name))

    def inspect(self, name: str) -> RawBody:
        """Whether a body is there and whole; its bytes are read and hashed.

        Raises:
            LakeError: that is not a SHA-256 in hexadecimal.
        """
        place = self.address(name)
        try:
            stored = self._files.size(_file_name(name))
        except OSError:
            stored = None
        if stored is None:
            return RawBody(name, place, "missing")
        try:
            return RawBody(name, place, "intact", len(self.get(name)), stored)
        except LakeError:
            return RawBody(name, place, "damaged", 0, stored)


def _file_name(name: str) -> str:
    if not _HASH.fullmatch(name):
        raise LakeError(f"{name[:80]!r} is not a SHA-256", fix="take hashes from the column `raw` of `fetches`")
    return f"{RAW}/{name[:2]}/{name}.zst"


def _compress(body: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd", _LEVEL).compress(body, asbytes=True)
    return packed


def _decompress(data: bytes) -> bytes:
    """What was compressed; nothing where the bytes are damaged."""
    try:
        # A stream needs no size beforehand, and ends with an error where the bytes end too early.
        with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
            body: bytes = stream.read()
    except (OSError, pa.ArrowException):
        return b""
    return body
