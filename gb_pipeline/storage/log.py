"""This module encodes and decodes the entries of a table's Delta log.

An entry is a JSON file whose last line carries a checksum of the whole, so that a changed or emptied entry is known for what it
is. Reading starts from the newest checkpoint and follows the entries; writing an entry is one `put_if_absent` under the next
number, which only one writer can win. Checkpoints are made by delta-rs. What an entry means for the set of files is
decided in `snapshot`, and what is written in `commit`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage

ENGINE = "gb_pipeline"
# This many entries are read one by one before a checkpoint is worth its file.
CHECKPOINT_EVERY = 100
Action = Mapping[str, Any]


class DamagedLog(LakeError):
    """A log or one of its entries is missing or not what was written: the table's contents are not known from it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: its version, its actions by kind, what the write said about itself, and the checksum of its bytes."""

    version: int
    adds: tuple[Action, ...]
    removes: tuple[Action, ...]
    transactions: Mapping[str, int]
    metadata: Action | None
    info: Mapping[str, Any]
    digest: int


@dataclass(frozen=True, slots=True)
class Seal:
    """What is known of a checkpoint that was written to its end.

    Attributes:
        version: of the table.
        checksum: of the checkpoint's bytes.
        pointer: what delta-rs notes about it for other programs (`_last_checkpoint`).
    """

    version: int
    checksum: int
    pointer: str


def folder(table: str) -> str:
    """The log's folder, relative to the lake's root."""
    return f"{Storage.table_name(table)}/_delta_log"


def entry_name(table: str, version: int) -> str:
    """The file of an entry."""
    return f"{folder(table)}/{version:020}.json"


def encode_entry(table: str, version: int, actions: Sequence[Action], info: Mapping[str, Any]) -> bytes:
    """The bytes of an entry: one action a line, and last what the write says about itself, with the checksum of it all.

    The checksum covers table and version, so that an entry in another's place is none.
    """
    body = "".join(f"{_compact_json(action)}\n" for action in actions)
    signed_info = {**info, "engineInfo": ENGINE}
    checksum = _checksum(table, version, body, signed_info)
    return f"{body}{_compact_json({'commitInfo': {**signed_info, 'checksum': checksum}})}\n".encode()


def decode_entry(table: str, version: int, data: bytes) -> Entry:
    """The meaning of an entry.

    Raises:
        DamagedLog: its bytes are not those that were written, or another program wrote it.
    """
    try:
        body, _, last = data.decode().rstrip("\n").rpartition("\n")
        body = f"{body}\n" if body else ""
        info = json.loads(last)["commitInfo"]
        expected = info.pop("checksum")
        intact = _checksum(table, version, body, info) == expected and info.get("engineInfo") == ENGINE
        lines = [json.loads(line) for line in body.splitlines()]
    except (ValueError, KeyError, TypeError, AttributeError):
        intact, lines, info = False, [], {}
    if not intact:
        state = "empty" if not data else "one that another program wrote" if is_foreign(data) else "damaged"
        raise damaged_log(table, f"entry {version} is {state}")
    return Entry(
        version=version,
        adds=tuple(line["add"] for line in lines if "add" in line),
        removes=tuple(line["remove"] for line in lines if "remove" in line),
        transactions={line["txn"]["appId"]: int(line["txn"]["version"]) for line in lines if "txn" in line},
        metadata=next((line["metaData"] for line in lines if "metaData" in line), None),
        info=info,
        digest=zlib.crc32(data),
    )


def is_intact(table: str, version: int, data: bytes | None) -> bool:
    """Whether these are the bytes that were written as the entry of a version."""
    try:
        return data is not None and decode_entry(table, version, data).version == version
    except LakeError:
        return False


def is_foreign(data: bytes) -> bool:
    """Whether these are the bytes of an entry that another program wrote: well-formed, and without a checksum of ours."""
    try:
        lines = [json.loads(line) for line in data.decode().splitlines()]
        infos = [line["commitInfo"] for line in lines if "commitInfo" in line]
        return bool(lines) and not any("checksum" in info or info.get("engineInfo") == ENGINE for info in infos)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def pointer_name(table: str) -> str:
    """The file from which other programs start."""
    return f"{folder(table)}/_last_checkpoint"


def encode_seal(seal: Seal) -> bytes:
    """The bytes of a seal, with a checksum of its own."""
    text = _compact_json(asdict(seal))
    return _compact_json({"sealed": text, "own": zlib.crc32(text.encode())}).encode()


def decode_seal(data: bytes) -> Seal | None:
    """The meaning of a seal; None where its bytes are not those that were written."""
    try:
        document = json.loads(data)
        fields = json.loads(document["sealed"]) if zlib.crc32(document["sealed"].encode()) == document["own"] else {}
        return Seal(int(fields["version"]), int(fields["checksum"]), str(fields["pointer"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def damaged_log(table: str, problem: str) -> DamagedLog:
    """The error for a log that cannot be trusted, with the way back."""
    return DamagedLog(
        f"table {table}: {problem} ({folder(table)})",
        fix=f"`gb verify --repair` puts the log of {table} together again from its mirrors",
    )


def _compact_json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _checksum(table: str, version: int, body: str, info: Mapping[str, Any]) -> str:
    info_text = json.dumps(info, separators=(",", ":"), sort_keys=True)
    return f"{zlib.crc32(f'{table} {version} {body}{info_text}'.encode()):08x}"
