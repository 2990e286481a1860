"""This module keeps pins: names for some series in a window, as known at a moment, with the fingerprints of what they held.

A pin is one JSON file, `pins/<name>.json`, made once and never changed; where it has few enough bars, a copy of them lies beside
it, so that differences can be told bar by bar. Making a pin of a lake, and reading what it names, is left to `gb_pipeline.reading`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.fingerprints import SESSION_FINGERPRINTS, combine_series, combine_sessions
from gb_pipeline.lake.named_files import RESTORE, check_name, explained, list_names
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.window import Window, instant
from gb_pipeline.storage.address import Storage

_FORMAT = 1
_FOLDER = "pins"


@dataclass(frozen=True)
class Pin:
    """Some series in a window, as known at a moment.

    Attributes:
        name: its own.
        resolution: of the bars.
        window: half-open range of bar opens; None for everything that was known.
        as_of: the moment.
        fingerprint: of all of it, 64 hexadecimal digits.
        sessions: `source, symbol, resolution, session, bars, first, last, precision, fingerprint` of each session in it.
        sources: calendars of the sources, the one that is asked first at the beginning.
        created_at, version: when, and by which release of this package, it was made.
        copy: SHA-256 of the copy of its bars; empty where none is kept.
        told_at: the moment as of which splits are known; None in pins of earlier releases, for that of the bars.
    """

    name: str
    resolution: Resolution
    window: Window | None
    as_of: datetime
    fingerprint: str
    sessions: pl.DataFrame = field(compare=False, repr=False)
    sources: tuple[SourceFacts, ...] = ()
    created_at: datetime | None = field(default=None, compare=False)
    version: str = field(default="", compare=False)
    copy: str = field(default="", compare=False)
    told_at: datetime | None = field(default=None, compare=False)

    @property
    def series(self) -> pl.DataFrame:
        """`source, symbol, resolution, sessions, bars, first, last, fingerprint`, sorted by series."""
        return combine_sessions(self.sessions)

    @property
    def copy_name(self) -> str:
        """The file of the copied bars, relative to the lake."""
        return f"{_FOLDER}/{self.name}.{self.copy[:16]}.parquet"

    def to_json(self) -> str:
        """All of it as JSON, for a repository of your own; `Lake.replay` takes the file."""
        sessions = self.sessions.drop("resolution", "session", "first", "last")
        document = {
            "format": _FORMAT,
            "name": self.name,
            "resolution": self.resolution.value,
            "start": None if self.window is None else self.window.start.isoformat(),
            "end": None if self.window is None else self.window.end.isoformat(),
            "as_of": self.as_of.isoformat(),
            "told_at": None if self.told_at is None else self.told_at.isoformat(),
            "fingerprint": self.fingerprint,
            "created_at": None if self.created_at is None else self.created_at.isoformat(),
            "version": self.version,
            "copy": self.copy,
            "sources": [list(astuple(item)) for item in self.sources],
            "sessions": {
                **sessions.to_dict(as_series=False),
                **{name: self.sessions[name].to_physical().to_list() for name in ("session", "first", "last")},
            },
        }
        return json.dumps(document, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, place: str = "the pin") -> Pin:
        """What `to_json` wrote.

        Raises:
            LakeError: it is no pin, or its fingerprint is not that of its sessions.
        """
        try:
            document: Mapping[str, Any] = json.loads(text)
            if document["format"] != _FORMAT:
                raise LakeError(f"{place} has format {document['format']}", fix="use a newer release of gb_pipeline")
            listed = document["sessions"]
            resolution = Resolution(document["resolution"])
            columns = {**listed, "resolution": [resolution.value] * len(listed["session"])}
            sessions = pl.DataFrame(
                [
                    pl.Series(name, columns[name], _physical(kind)).cast(kind)
                    for name, kind in SESSION_FINGERPRINTS.items()
                ]
            )
            start, end = document["start"], document["end"]
            pin = cls(
                name=document["name"],
                resolution=resolution,
                window=None if start is None else Window(instant(start), instant(end)),
                as_of=instant(document["as_of"]),
                fingerprint=document["fingerprint"],
                sessions=sessions,
                sources=tuple(SourceFacts(*item) for item in document["sources"]),
                created_at=instant(document["created_at"]),
                version=document["version"],
                copy=document["copy"],
                told_at=instant(document["told_at"]) if document.get("told_at") else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError):
            raise LakeError(f"{place} cannot be read: it is no pin, or it is damaged", fix=RESTORE) from None
        if combine_series(pin.series) != pin.fingerprint:
            raise LakeError(f"{place} is damaged: its fingerprint is not that of its sessions", fix=RESTORE)
        return pin


def check_pin_name(name: str) -> str:
    """The name, if a pin can be called so.

    Raises:
        ConfigError: it cannot.
    """
    return check_name(name, "a pin")


def encode_copy(bars: pl.DataFrame) -> tuple[bytes, str]:
    """Bars as a Parquet file, and its SHA-256."""
    buffer = io.BytesIO()
    bars.write_parquet(buffer, compression="zstd")
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def store_pin(storage: Storage, pin: Pin, copy: bytes | None) -> Pin:
    """Make a pin durable; the pin that has the name, which says the same.

    Raises:
        ConfigError: the name is taken by another pin.
        LakeError: the lake cannot be written.
    """
    with explained(f"pin {pin.name!r} could not be written"):
        # A copy has the pins of its lake, and no others.
        _ = storage.is_writable
        if copy is not None:
            storage.files.put_if_absent(pin.copy_name, copy)
        if storage.files.put_if_absent(_file_name(pin.name), pin.to_json().encode()):
            return pin
    taken = read_pin(storage, pin.name)
    same = (taken.fingerprint, taken.window, taken.resolution) == (pin.fingerprint, pin.window, pin.resolution)
    if copy is not None and taken.copy_name != pin.copy_name:
        storage.files.delete(pin.copy_name)
    if not same:
        raise ConfigError(
            f"there is a pin {pin.name!r} already, and it holds something else",
            fix=f"choose another name, or remove it: gb unpin {pin.name}",
        )
    return taken


def read_pin(storage: Storage, name: str) -> Pin:
    """A pin by its name.

    Raises:
        ConfigError: there is none.
        LakeError: it is damaged.
    """
    try:
        with explained(f"pin {name!r} could not be read"):
            data = storage.files.read(_file_name(check_pin_name(name)))
    except FileNotFoundError:
        known = pin_names(storage)
        near = did_you_mean(near_names(name, known), "`gb pins` lists those that there are")
        raise ConfigError(f"there is no pin {name!r}", fix=near) from None
    return Pin.from_json(data, f"pin {name!r}")


def read_copy(storage: Storage, pin: Pin) -> pl.DataFrame | None:
    """The bars that were copied; None where none were, or where the copy is not what was written."""
    try:
        data = storage.files.read(pin.copy_name) if pin.copy else b""
    except OSError:
        return None
    return pl.read_parquet(data) if data and hashlib.sha256(data).hexdigest() == pin.copy else None


def pin_names(storage: Storage) -> list[str]:
    """The names of all pins, sorted."""
    return list_names(storage, _FOLDER)


def remove_pin(storage: Storage, name: str) -> None:
    """Forget a pin; no bar is touched.

    Raises:
        ConfigError: there is none.
    """
    try:
        copy = read_pin(storage, name).copy_name
    except LakeError:
        # One that is damaged can be removed as well.
        copy = None
    with explained(f"pin {name!r} could not be removed"):
        # A copy has the pins of its lake, and no others.
        _ = storage.is_writable
        storage.files.delete(_file_name(name))
        if copy is not None:
            storage.files.delete(copy)


def _file_name(name: str) -> str:
    return f"{_FOLDER}/{name}.json"


def _physical(kind: Any) -> Any:
    if isinstance(kind, pl.Datetime):
        return pl.Int64()
    return pl.Int32() if isinstance(kind, pl.Date) else kind
