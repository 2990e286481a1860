"""This module remembers when a whole lake was verified last, and what was found, in a small file beside its tables.

It says something of these files only: a copy of the lake has none, until it is verified itself.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.verification import VerifyReport
from gb_pipeline.storage.address import Storage

NAME = "verified.json"
_LISTED = 20


@dataclass(frozen=True)
class VerifyRecord:
    """What the last verification of a whole lake found.

    Attributes:
        at: when it ended, in UTC.
        files, bytes, sessions: how much was looked at.
        problems: how many damages there were.
        damages: the first of them, as `table: problem`.
    """

    at: datetime
    files: int
    bytes: int
    sessions: int
    problems: int
    damages: tuple[str, ...]


def record_verification(storage: Storage, report: VerifyReport, now: datetime) -> None:
    """Remember a verification of everything. A place that cannot be written keeps what it had, and a copy gets nothing.

    Args:
        storage: of the lake.
        report: of a verification without the name of a source or symbol.
        now: when it ended.
    """
    damages = [f"{damage.table}: {damage.problem}" for damage in report.damages[:_LISTED]]
    content = {
        "at": now.isoformat(),
        "files": report.files,
        "bytes": report.bytes,
        "sessions": report.sessions,
        "problems": len(report.damages),
        "damages": damages,
    }
    # A lake that cannot be written can be verified as well, and so can a copy, to which only copies write.
    with suppress(OSError, LakeError):
        if storage.is_writable:
            storage.files.put(NAME, json.dumps(content, indent=1).encode())


def read_verification(storage: Storage) -> VerifyRecord | None:
    """The last verification; None where there was none.

    Raises:
        LakeError: the record cannot be read.
    """
    try:
        content = json.loads(storage.files.read(NAME))
        return VerifyRecord(
            at=datetime.fromisoformat(content["at"]),
            files=int(content["files"]),
            bytes=int(content["bytes"]),
            sessions=int(content["sessions"]),
            problems=int(content["problems"]),
            damages=tuple(map(str, content["damages"])),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"the record of the last verification ({NAME}) cannot be read: {error}",
            fix="verify the lake again, which writes a new one: `gb verify`",
        ) from None
