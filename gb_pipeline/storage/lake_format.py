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


def encode_mark(number: int = FORMAT, *, migrating_to: int | None = None) -> bytes:
    """What the file says; while a lake is on its way to the next format, that one as well."""
    on_its_way = {} if migrating_to is None else {"migrating_to": migrating_to}
    return json.dumps({"format": number, **on_its_way}).encode() + b"\n"


def read_format(files: Files) -> int:
    """The format of the lake; that of before where a migration was cut off. Raises as `read_mark`."""
    return read_mark(files)[0]


def read_mark(files: Files) -> tuple[int, int | None]:
    """The format of the lake, and the one that it is on its way to.

    Raises:
        LakeError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        data = files.read(MARK)
    except FileNotFoundError:
        return 1, None
    if data.lstrip().startswith(b"<"):
        raise LakeError(
            f"what was read as {MARK} is a page of HTML or XML",
            fix="check the endpoint: a store that speaks S3 gives the object, or an error",
        )
    try:
        document = json.loads(data)
        number, target = document["format"], document.get("migrating_to")
    except (ValueError, TypeError, KeyError, AttributeError):
        number, target = None, None
    if type(number) is not int or number < 1 or not (target is None or (type(target) is int and target > number)):
        raise LakeError(
            f"the mark of the lake, {MARK}, is damaged",
            fix=f"restore it from a backup; of this release it says {encode_mark()!r}",
        )
    return number, target


def require_format(files: Files, place: str) -> None:
    """Let a lake of this format pass.

    Raises:
        LakeError: it is of another one.
        OSError: the mark cannot be read.
    """
    number, target = read_mark(files)
    newest = target or number
    if newest > FORMAT:
        raise LakeError(
            f"{place} is a lake of format {newest}, and gb_pipeline {version('gb_pipeline')} reads up to format {FORMAT}",
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
        # Half of a step is neither format: until it is done, releases of the earlier one are refused, too.
        files.put(MARK, encode_mark(number, migrating_to=number + 1))
        STEPS[number](files)
        number += 1
        files.put(MARK, encode_mark(number))
    require_format(files, place)
    return before, number
