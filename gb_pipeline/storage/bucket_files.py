"""This module reads and writes the files of a lake in an object store of the S3 kind, through s3fs.

An object is there as a whole or not at all, and what was acknowledged is durable, so `put` and `put_if_absent` need no more than
one request. Requests are retried within bounds. Nothing is listed but where a caller asks for it.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.lake_format import MARK, encode_mark

if TYPE_CHECKING:
    from s3fs import S3FileSystem

T = TypeVar("T")
# A request is tried this often; the client waits in between, longer each time, up to 20 seconds.
ATTEMPTS = 6
CONNECT_SECONDS, READ_SECONDS = 5, 60
# A stream of a large file fetches this many bytes at once.
_BLOCK = 8 << 20


class BucketFiles:
    """Files below a prefix of a bucket. Safe to share between threads; a forked process opens connections of its own."""

    is_near = False

    def __init__(self, bucket: Bucket) -> None:
        """Nothing is connected before the first request."""
        self.bucket = bucket
        self._root = f"{bucket.name}/{bucket.prefix}" if bucket.prefix else bucket.name
        self._system: tuple[int, S3FileSystem] | None = None
        self._guard = Lock()
        self._keeps_conditions = False

    @property
    def system(self) -> S3FileSystem:
        """s3fs, with the address and the credentials of the bucket."""
        with self._guard:
            if self._system is None or self._system[0] != os.getpid():
                self._system = os.getpid(), self._connect()
            return self._system[1]

    def _connect(self) -> S3FileSystem:
        from s3fs import S3FileSystem

        bucket = self.bucket
        system = S3FileSystem(
            key=bucket.access_key_id,
            secret=bucket.secret_access_key,
            token=bucket.session_token,
            endpoint_url=bucket.endpoint,
            client_kwargs={"region_name": bucket.region} if bucket.region else {},
            config_kwargs={
                "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                # Of a store that is not Amazon's the name of a bucket is no name of a host.
                "s3": {"addressing_style": "path" if bucket.endpoint else "auto"},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        # The client repeats requests; this is for bodies that end too early.
        system.retries = min(2, ATTEMPTS)
        return system

    def delta_options(self) -> dict[str, str]:
        """What delta-rs has to know to reach the bucket; credentials are those that s3fs uses, wherever they come from."""
        bucket = self.bucket
        options = {
            "AWS_REGION": bucket.region or "us-east-1",
            **({"AWS_ENDPOINT_URL": bucket.endpoint} if bucket.endpoint else {}),
            **({"AWS_ALLOW_HTTP": "true"} if (bucket.endpoint or "").startswith("http://") else {}),
        }
        names = {"access_key_id": "access_key", "secret_access_key": "secret_key", "session_token": "token"}
        credentials = {option: getattr(bucket, option) for option in names}
        if bucket.access_key_id is None:
            from botocore.session import get_session

            found = get_session().get_credentials()
            frozen = None if found is None else found.get_frozen_credentials()
            credentials = {option: getattr(frozen, name, None) for option, name in names.items()}
        return options | {f"AWS_{option.upper()}": str(value) for option, value in credentials.items() if value}

    def path(self, name: str) -> str:
        """The name of an object with its bucket."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes:
        """All bytes; raises FileNotFoundError."""
        data: bytes = self._ask(lambda system: system.cat_file(self.path(name), max_concurrency=1))
        return data

    def read_buffer(self, name: str) -> pa.Buffer:
        """All bytes; raises FileNotFoundError."""
        return pa.py_buffer(self.read(name))

    def open(self, name: str) -> pa.NativeFile:
        """A file to be read in pieces; raises FileNotFoundError."""
        return pa.PythonFile(_Stream(self, name), mode="r")

    def size(self, name: str) -> int | None:
        """The size in bytes, None where there is no such file."""
        described = self.describe(name)
        return None if described is None else int(described["ContentLength"])

    def describe(self, name: str) -> dict[str, Any] | None:
        """What the store says of an object: `ContentLength`, `ETag`, `LastModified`; None where there is none."""
        key = self.path(name).removeprefix(f"{self.bucket.name}/")
        with suppress(FileNotFoundError):
            answer: dict[str, Any] = self._ask(
                lambda system: system.call_s3("head_object", Bucket=self.bucket.name, Key=key)
            )
            return answer
        return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a new file, durably."""
        self.put(name, bytes(data))

    def flush(self, names: Iterable[str]) -> None:
        """Nothing is left to do: what was written is durable."""

    def put(self, name: str, data: bytes, *, private: bool = False) -> None:  # noqa: ARG002
        """Replace a file as a whole, durably; who reads it is the bucket's business."""
        self._ask(lambda system: system.pipe_file(self.path(name), data))

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file as a whole."""
        self.put(name, data)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Make a file as a whole and durably unless the name is taken; whether it was made.

        Raises:
            LakeError: the store does not keep conditions, so two writers could make the same file.
        """
        if not self._keeps_conditions:
            self._prove_conditions()
        return self._create(name, data)

    def _create(self, name: str, data: bytes) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                self._ask(lambda system: system.pipe_file(self.path(name), data, mode="create"))
            except FileExistsError:
                # An answer that was lost on its way makes the client ask again, and then it is its own file that is in the way.
                return self.read(name) == data
            except OSError as error:
                # Two writers of one name at the same moment: the store answers neither of them for good.
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(random.uniform(0, 0.05 * 2**attempt))
            else:
                return True
        raise OSError(errno.EBUSY, "the store did not decide who of several writers was first")

    def _prove_conditions(self) -> None:
        """Make the mark of a lake twice: a store that does it twice has ignored the condition.

        Raises:
            LakeError: it has.
        """
        if self.ignores_conditions(MARK, encode_mark()):
            raise LakeError(
                f"the store of {self.bucket} ignores the condition that an object must not be there yet (`If-None-Match: *`), so"
                " two writers could overwrite each other",
                fix="nothing was written; use a store that keeps it, or a newer release of this one",
            )
        self._keeps_conditions = True

    def ignores_conditions(self, name: str, data: bytes) -> bool:
        """Whether the store makes one object twice, although the second time it is there."""
        try:
            return [self._make(name, data) for _ in range(2)][1]
        except OSError as error:
            # It says itself that it does not know the condition.
            if error.errno == errno.ENOTSUP:
                return True
            raise

    def _make(self, name: str, data: bytes) -> bool:
        """One conditional put; unlike `_create` it does not ask whose object is in the way."""
        try:
            self._ask(lambda system: system.pipe_file(self.path(name), data, mode="create"))
        except FileExistsError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove a file if it is there."""
        with suppress(FileNotFoundError):
            self._ask(lambda system: system.rm_file(self.path(name)))

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        """Name, size and time of change of every file below a folder."""
        found = self._ask(lambda system: system.find(self.path(folder).rstrip("/") + "/", detail=True))
        for path, details in found.items():
            yield path[len(self._root) + 1 :], int(details["size"]), details["LastModified"].timestamp()

    def _ask(self, act: Callable[[S3FileSystem], T]) -> T:
        """Do something with s3fs.

        Raises:
            OSError: FileNotFoundError, FileExistsError, PermissionError, or one whose number never means damaged bytes.
        """
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError

        try:
            return act(self.system)
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if _answer(error).get("Error", {}).get("Code") == "NoSuchBucket":
                raise OSError(errno.EREMOTEIO, f"there is no bucket {self.bucket.name} for {self.bucket}") from None
            raise
        # A body that ends too early, again and again, is an error of the client's own kind.
        except (OSError, BotoCoreError, ClientError) as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> OSError:
        answer = _answer(error)
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == HTTPStatus.PRECONDITION_FAILED:
            # The only condition that is ever asked for; some stores do not repeat it in their answer.
            return FileExistsError(errno.EEXIST, f"{self.bucket} has such an object already")
        said = answer.get("Error", {})
        reason = " ".join(str(said[part]) for part in ("Code", "Message") if said.get(part))
        reason = (reason or str(getattr(error, "strerror", None) or error)).split("\n", 1)[0]
        number = error.errno if isinstance(error, OSError) else None
        numbers = {HTTPStatus.CONFLICT: errno.EBUSY, HTTPStatus.NOT_IMPLEMENTED: errno.ENOTSUP}
        number = numbers.get(status, number)
        if isinstance(error, PermissionError):
            return PermissionError(errno.EACCES, f"{self.bucket} refuses it: {reason}")
        if number in {None, errno.EIO}:
            number = errno.EREMOTEIO
        return OSError(number, f"{self.bucket} does not answer as it should: {reason}")


def _answer(error: Exception) -> dict[str, Any]:
    """What the store answered, as the client reads it; empty where it said nothing."""
    return getattr(error.__cause__, "response", None) or {}


class _Stream:
    """An object as a file of Python: every read is one request for the bytes that are wanted, and some after them."""

    def __init__(self, files: BucketFiles, name: str) -> None:
        """Ask for its size."""
        size = files.size(name)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        self._files, self._name, self._size = files, name, size
        self._position, self._start, self._block = 0, 0, b""
        self.closed = False

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def read(self, length: int | None = -1) -> bytes:
        """The next bytes."""
        start = self._position
        end = self._size if length is None or length < 0 else min(start + length, self._size)
        if start < self._start or end > self._start + len(self._block):
            self._start, self._block = start, self._fetch(start, min(max(end, start + _BLOCK), self._size))
        self._position = end
        return self._block[start - self._start : end - self._start]

    def _fetch(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        path = self._files.path(self._name)
        data: bytes = self._files._ask(lambda system: system.cat_file(path, start=start, end=end, max_concurrency=1))
        return data

    def close(self) -> None:
        """Let go of the bytes."""
        self.closed, self._block = True, b""

    def flush(self) -> None:
        """Nothing to do."""
