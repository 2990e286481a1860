"""Uploads as files of the lake's state: what was announced, what has arrived, and what became of it.

An upload survives the server: what has arrived is the size of its file. It changes the lake once, at its commit; a commit that was
cut off is done again, and then finds its bars there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gb_pipeline.api.problems import Problem
from gb_pipeline.config.private_files import private_file, private_folder
from gb_pipeline.storage.commit import Clock

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Upload:
    """What was announced.

    Attributes:
        id: of 32 hexadecimal digits; from the key, where there is one, so that the same announcement is the same upload.
        owner: the public id of the token.
        length: bytes that will come.
        sha256: of all of them, hexadecimal.
        bars: what they are: keywords of `Lake.put`, and `format`.
        created: UTC.
    """

    id: str
    owner: str
    length: int
    sha256: str
    bars: dict[str, Any]
    created: datetime


class UploadStore:
    """The uploads of a lake on this machine. Safe to share between threads and processes.

    Args:
        state: the lake's folder of state.
        clock: the present.
        most: unfinished uploads at a time.
        hours: how long one is kept that nobody goes on with.
    """

    def __init__(self, state: Path, clock: Clock, *, most: int, hours: int) -> None:
        """Nothing is made."""
        self._folder, self._clock, self._most = state / "api" / "uploads", clock, most
        self._kept = timedelta(hours=hours)

    def create(
        self, owner: str, key: str | None, length: int, sha256: str, bars: dict[str, Any]
    ) -> tuple[Upload, bool]:
        """Announce an upload.

        Returns:
            The upload, and whether it is new; one with the same owner and key is returned again.

        Raises:
            Problem: 409, the key was used for something else; 503, too many uploads are unfinished.
        """
        self.sweep()
        id = secrets.token_hex(16) if key is None else hashlib.sha256(f"{owner}\n{key}".encode()).hexdigest()[:32]
        upload = Upload(id, owner, length, sha256, bars, self._clock())
        private_folder(self._folder)
        with self.locked(id):
            known = self._read(id)
            if known is not None:
                if (known.length, known.sha256, known.bars) != (length, sha256, bars):
                    fix = "use another Idempotency-Key for other bars"
                    raise Problem(409, "this key announced another upload", fix, "KeyUsed")
                return known, False
            if sum(1 for folder in self._folder.iterdir() if (folder / "data").exists()) >= self._most:
                fix = "finish or delete some: DELETE /v1/uploads/ID"
                raise Problem(503, f"{self._most} uploads are unfinished", fix, "TooManyUploads", {"retry-after": "60"})
            folder = private_folder(self._folder / id)
            private_file(folder / "data")
            self._put(folder / "upload.json", {**asdict(upload), "created": upload.created.isoformat()})
        return upload, True

    def find(self, id: str, owner: str) -> Upload:
        """An upload of this owner.

        Raises:
            Problem: 404, there is none; another one's is none.
        """
        upload = self._read(id)
        if upload is None or upload.owner != owner:
            raise Problem(404, "there is no such upload", "announce it: POST /v1/uploads", "UnknownUpload")
        return upload

    def arrived(self, upload: Upload) -> int:
        """Bytes that are there; all of them where it was committed."""
        try:
            return self.data(upload).stat().st_size
        except FileNotFoundError:
            return upload.length

    def data(self, upload: Upload) -> Path:
        """Where the bytes are."""
        return self._folder / upload.id / "data"

    def rows(self, upload: Upload) -> Path:
        """Where the decoded rows are put for a while."""
        return self._folder / upload.id / "rows.arrow"

    def table(self, upload: Upload, name: str) -> Path:
        """Where a table of the result is: `sessions` or `refused`."""
        return self._folder / upload.id / f"{name}.arrow"

    def result(self, upload: Upload) -> dict[str, Any] | None:
        """What the commit stored; None before it."""
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self._folder / upload.id / "result.json").read_text(encoding="utf-8"))
            return found
        return None

    def finish(self, upload: Upload, result: dict[str, Any]) -> None:
        """Keep what the commit stored, and let go of the bytes."""
        self._put(self._folder / upload.id / "result.json", result)
        self.rows(upload).unlink(missing_ok=True)
        self.data(upload).unlink(missing_ok=True)

    def start_again(self, upload: Upload) -> None:
        """Forget all bytes, as they are not those that were announced."""
        os.truncate(self.data(upload), 0)

    def remove(self, upload: Upload) -> None:
        """Forget an upload; bars that it stored stay."""
        with self.locked(upload.id):
            shutil.rmtree(self._folder / upload.id, ignore_errors=True)

    def check(self, upload: Upload) -> None:
        """Compare what arrived with what was announced.

        Raises:
            Problem: 409, bytes are missing; 422, they are other ones: nothing is kept of them.
        """
        arrived = self.arrived(upload)
        if arrived != upload.length:
            fix = f"send the rest: PATCH with Upload-Offset: {arrived}"
            raise Problem(409, f"{arrived:,} of {upload.length:,} bytes arrived", fix, "UploadIncomplete")
        digest = hashlib.sha256()
        with self.data(upload).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        if digest.hexdigest() != upload.sha256:
            self.start_again(upload)
            raise Problem(
                422, "what arrived is not what was announced: its SHA-256 differs", "send it again", "ChecksumMismatch"
            )

    @contextmanager
    def locked(self, id: str) -> Iterator[None]:
        """Work on an upload alone.

        Raises:
            Problem: 409, somebody else does.
        """
        lock = FileLock(private_file(private_folder(self._folder) / f"{id}.lock"), thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Problem(
                409, "somebody works on this upload", "ask for its offset and go on", "UploadBusy", {"retry-after": "1"}
            ) from None
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove uploads, and results, that are older than they are kept."""
        oldest = (self._clock() - self._kept).timestamp()
        with suppress(FileNotFoundError):
            for entry in self._folder.iterdir():
                with suppress(OSError, Problem):
                    newest = max((item.stat().st_mtime for item in entry.iterdir()), default=0) if entry.is_dir() else 0
                    if entry.is_dir() and newest < oldest:
                        with self.locked(entry.name):
                            shutil.rmtree(entry, ignore_errors=True)
                        entry.with_name(f"{entry.name}.lock").unlink(missing_ok=True)

    def _read(self, id: str) -> Upload | None:
        try:
            document = json.loads((self._folder / id / "upload.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Upload(**{**document, "created": datetime.fromisoformat(document["created"])})

    def _put(self, path: Path, document: dict[str, Any]) -> None:
        partial = private_file(path.with_suffix(".partial"))
        with partial.open("w", encoding="utf-8") as file:
            json.dump(document, file, default=str)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
