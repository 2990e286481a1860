"""This module keeps what the last look at a lake found, as small JSON files beside its tables; a copy of the lake gets none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage

T = TypeVar("T")


def write_result(storage: Storage, name: str, content: Mapping[str, Any]) -> None:
    """Remember a result. A place that cannot be written keeps what it had, and so does a copy, to which only copies write."""
    with suppress(OSError, LakeError):
        if storage.is_writable:
            storage.files.put(name, json.dumps(content, indent=1).encode())


def read_result(storage: Storage, name: str, parse: Callable[[dict[str, Any]], T], *, what: str, fix: str) -> T | None:
    """The last result; None where there was none.

    Args:
        storage: of the lake.
        name: of the file.
        parse: makes the result of its content.
        what: the result, for the message.
        fix: what writes a new one.

    Raises:
        LakeError: the file cannot be read.
    """
    try:
        return parse(json.loads(storage.files.read(name)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(f"the record of {what} ({name}) cannot be read: {error}", fix=fix) from None
