"""This module keeps the artifacts of runs, any bytes, each once under the SHA-256 of what it holds, and proves them on every read.

They lie in `<root>/artifacts/<first two digits>/<SHA-256>` as they are, so that other programs open them.
"""

from __future__ import annotations

import hashlib
import re

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.storage.address import Storage

FOLDER = "artifacts"
_HASH = re.compile(r"[0-9a-f]{64}")


class Artifacts:
    """Artifacts of one lake. Any number of processes may write at once: the same name always means the same bytes.

    Example:
        >>> artifacts = Artifacts(Storage.at("data"))
        >>> artifacts.get(artifacts.put(b"a report"))
        b'a report'
    """

    def __init__(self, storage: Storage) -> None:
        """Nothing is opened."""
        self._files, self._root = storage.files, storage.root

    def put(self, data: bytes) -> str:
        """Keep bytes, durably and as a whole; those that are there already are not written again, unless they are damaged.

        Returns:
            Their SHA-256.

        Raises:
            LakeError: they cannot be written; nothing of them is left.
            ConfigError: these are no bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ConfigError(
                f"an artifact is bytes, not {type(data).__name__}", fix="encode it, or read the file's bytes"
            )
        body = bytes(data)
        digest = hashlib.sha256(body).hexdigest()
        if not self.is_intact(digest, len(body)):
            try:
                self._files.put(_name(digest), body)
            except OSError as error:
                raise LakeError(
                    f"an artifact could not be kept in {self._root}/{FOLDER}: {error.strerror or error}",
                    fix="check free space and permissions (`gb doctor`), then save the run again",
                ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Bytes by their SHA-256.

        Raises:
            LakeError: they are not there, or damaged.
            ConfigError: that is no SHA-256.
        """
        name = _name(digest)
        try:
            data = self._files.read(name)
        except FileNotFoundError:
            raise LakeError(
                f"the artifact {name} is not there", fix="restore it from a backup, or save the run again"
            ) from None
        except OSError as error:
            raise LakeError(
                f"the artifact {name} cannot be read: {error.strerror or error}",
                fix="check permissions and the disk (`gb doctor`)",
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise LakeError(
                f"the artifact {name} is damaged: its bytes are not those it is named after",
                fix="restore it from a backup, or save the run again",
            )
        return data

    def is_intact(self, digest: str, size: int) -> bool:
        """Whether bytes of that size are there and whole; they are read for it."""
        if self._files.size(_name(digest)) != size:
            return False
        try:
            self.get(digest)
        except LakeError:
            return False
        return True


def _name(digest: str) -> str:
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ConfigError(f"{str(digest)[:80]!r} is not a SHA-256", fix="take it from `artifacts` of the run")
    return f"{FOLDER}/{digest[:2]}/{digest}"
