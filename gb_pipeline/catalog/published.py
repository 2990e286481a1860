"""This module hands a lake's catalog from machine to machine: of a lake in an object store it is one object beside the tables.

DuckDB opens local files. So each machine has a copy in its state folder, which is fetched again when the object's tag changed, and
whoever has built the catalog anew puts it there.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.catalog.connection import open_catalog
from gb_pipeline.config.private_files import private_folder
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.bucket_files import BucketFiles

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAME = "catalog.duckdb"


def open_newest(storage: Storage) -> DuckDBPyConnection:
    """`open_catalog` of what was published last. The caller closes it.

    Raises:
        LakeError: as `open_catalog`, or the object store cannot be asked.
    """
    return open_catalog(fetch_catalog(storage), storage.root)


def fetch_catalog(storage: Storage) -> Path:
    """The catalog's file on this machine, as new as the object; there need not be one.

    Raises:
        LakeError: the object store cannot be asked, or this machine's copy cannot be written.
    """
    file = storage.catalog
    if not isinstance(storage.files, BucketFiles):
        return file
    try:
        described = storage.files.describe(NAME)
        if described is None:
            return file
        tag = str(described["ETag"])
        if not file.is_file() or _known_tag(file) != tag:
            _replace(file, storage.files.read(NAME))
            _note_tag(file, tag)
    except OSError as error:
        raise LakeError(
            f"the catalog of {storage.root} cannot be fetched: {error.strerror or error}",
            fix="check the network, the credentials and the state folder (`gb doctor`)",
        ) from error
    return file


def publish_catalog(storage: Storage) -> None:
    """Put this machine's catalog where the others fetch it; nothing is to do for a local folder.

    Raises:
        LakeError: the object store refuses it.
    """
    if not isinstance(storage.files, BucketFiles):
        return
    try:
        storage.files.put(NAME, storage.catalog.read_bytes())
        described = storage.files.describe(NAME)
    except OSError as error:
        raise LakeError(
            f"the catalog could not be put to {storage.root}: {error.strerror or error}",
            fix="nothing is lost: it is built again by the next reader that may write",
        ) from error
    if described is not None:
        _note_tag(storage.catalog, str(described["ETag"]))


def _known_tag(file: Path) -> str | None:
    with suppress(OSError):
        return _tag_file(file).read_text(encoding="utf-8")
    return None


def _note_tag(file: Path, tag: str) -> None:
    # A note that cannot be written makes the next reader fetch once more.
    with suppress(OSError):
        _replace(_tag_file(file), tag.encode())


def _tag_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.etag")


def _replace(file: Path, data: bytes) -> None:
    private_folder(file.parent)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, file)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
