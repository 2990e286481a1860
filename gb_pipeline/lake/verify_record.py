"""This module remembers when a whole lake was verified last, and what was found, in a small file beside its tables.

It says something of these files only: a copy of the lake has none, until it is verified itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gb_pipeline.lake.result_files import read_result, write_result
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
    write_result(storage, NAME, content)


def read_verification(storage: Storage) -> VerifyRecord | None:
    """The last verification; None where there was none.

    Raises:
        LakeError: the record cannot be read.
    """
    return read_result(
        storage,
        NAME,
        _parse,
        what="the last verification",
        fix="verify the lake again, which writes a new one: `gb verify`",
    )


def _parse(content: dict[str, Any]) -> VerifyRecord:
    return VerifyRecord(
        at=datetime.fromisoformat(content["at"]),
        files=int(content["files"]),
        bytes=int(content["bytes"]),
        sessions=int(content["sessions"]),
        problems=int(content["problems"]),
        damages=tuple(map(str, content["damages"])),
    )
