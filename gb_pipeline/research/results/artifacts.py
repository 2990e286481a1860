"""This module keeps the artifacts of runs, any bytes, each once under the SHA-256 of what it holds, and proves them on every read.

They lie in `<root>/artifacts/<first two digits>/<SHA-256>` as they are, so that other programs open them.
"""

from __future__ import annotations

import hashlib
import re
import time

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.result_rows import ARTIFACTS, artifact_name
from gb_pipeline.storage.address import Storage

# For so many seconds this process takes an artifact that it put for one that no vacuum may remove.
_FRESH = 600.0
# So many it remembers.
_MOST_REMEMBERED = 10_000
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
        self._put: dict[str, float] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes, durably and as a whole.

        Those that were put a moment ago are not written again, unless they are damaged. Older ones are, so that no vacuum takes
        them for left over before a run names them.

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
        now = time.monotonic()
        if now - self._put.get(digest, -_FRESH) >= _FRESH or not self.is_intact(digest, len(body)):
            try:
                self._files.put(_name(digest), body)
            except OSError as error:
                raise LakeError(
                    f"an artifact could not be kept in {self._root}/{ARTIFACTS}: {error.strerror or error}",
                    fix="check free space and permissions (`gb doctor`), then save the run again",
                ) from error
            if len(self._put) >= _MOST_REMEMBERED:
                self._put.clear()
            self._put[digest] = now
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
    return artifact_name(digest)
