"""This module knows the format of a lake: a number in a small file at its root, raised when older releases could not read it.

A lake of a later format is refused, one of an earlier format is brought up to date by `migrate`, step by step. A lake without the
file was made before there was one, and is of format 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.files import Files

MARK = "gb_lake.json"
FORMAT = 1
# From a format to the next one; each may be cut off and run again.
STEPS: Mapping[int, Callable[[Files], None]] = {}


def encode_mark(number: int = FORMAT) -> bytes:
    """What the file says."""
    return json.dumps({"format": number}).encode() + b"\n"


def read_format(files: Files) -> int:
    """The format of the lake.

    Raises:
        LakeError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        data = files.read(MARK)
    except FileNotFoundError:
        return 1
    try:
        number = json.loads(data)["format"]
    except (ValueError, TypeError, KeyError):
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise LakeError(
            f"the mark of the lake, {MARK}, is damaged",
            fix=f"restore it from a backup; of this release it says {encode_mark()!r}",
        )
    return number


def require_format(files: Files, place: str) -> None:
    """Let a lake of this format pass.

    Raises:
        LakeError: it is of another one.
        OSError: the mark cannot be read.
    """
    number = read_format(files)
    if number > FORMAT:
        raise LakeError(
            f"{place} is a lake of format {number}, and gb_pipeline {version('gb_pipeline')} reads up to format {FORMAT}",
            fix="upgrade gb_pipeline; nothing was read or changed",
        )
    if number < FORMAT:
        raise LakeError(
            f"{place} is a lake of format {number}, and this release works on format {FORMAT}",
            fix="back it up, then run `gb migrate`",
        )


def migrate(files: Files, place: str) -> tuple[int, int]:
    """Bring a lake to this release's format; nothing where it is there already.

    Returns:
        The format before and after.

    Raises:
        LakeError: it is of a later format, or the mark is damaged.
    """
    before = number = read_format(files)
    while number < FORMAT:
        STEPS[number](files)
        number += 1
        files.put(MARK, encode_mark(number))
    require_format(files, place)
    return before, number
