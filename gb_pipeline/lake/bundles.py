"""This module keeps bundles: names for some series of a source over a range of sessions. They hold no bar.

A bundle is one JSON file, `bundles/<name>.json`, made once and never changed, so several processes need no lock. Its pins are pins
like any others, called `<bundle>.<moment>`. Fetching, checking and reading what it names is left to `gb_pipeline.portal`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.named_files import RESTORE, check_name, explained, list_names
from gb_pipeline.lake.pins import pin_names
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.window import instant
from gb_pipeline.storage.address import Storage

_FORMAT = 1
_FOLDER = "bundles"
# The name of a pin has 80 characters, of which a moment takes 23.
_LONGEST_NAME = 57
_MOMENT = "%Y%m%dT%H%M%S%fZ"
_PIN = re.compile(r"\d{8}T\d{12}Z", re.ASCII)


@dataclass(frozen=True)
class Bundle:
    """Some series of a source over a range of sessions.

    Attributes:
        name: its own.
        source: whose bars.
        symbols: codes; None for all of the source in gb.yaml, whichever those are when it is looked at.
        members: of all of them only those that were members of the source's point-in-time universe at some time in the range.
        resolution: of the bars.
        start, end: half-open range of sessions; `end` is None for everything until now.
        created_at, version: when, and by which release of this package, it was registered.
    """

    name: str
    source: str
    symbols: tuple[str, ...] | None
    resolution: Resolution
    start: date
    end: date | None
    members: bool = False
    created_at: datetime | None = field(default=None, compare=False)
    version: str = field(default="", compare=False)

    def to_json(self) -> str:
        """All of it as JSON."""
        document = {
            "format": _FORMAT,
            "name": self.name,
            "source": self.source,
            "symbols": None if self.symbols is None else list(self.symbols),
            "members": self.members,
            "resolution": self.resolution.value,
            "start": self.start.isoformat(),
            "end": None if self.end is None else self.end.isoformat(),
            "created_at": None if self.created_at is None else self.created_at.isoformat(),
            "version": self.version,
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, place: str = "the bundle") -> Bundle:
        """What `to_json` wrote.

        Raises:
            LakeError: it is no bundle.
        """
        try:
            document = json.loads(text)
            if document["format"] != _FORMAT:
                raise LakeError(f"{place} has format {document['format']}", fix="use a newer release of gb_pipeline")
            symbols, end = document["symbols"], document["end"]
            return cls(
                name=document["name"],
                source=document["source"],
                symbols=None if symbols is None else tuple(symbols),
                resolution=Resolution(document["resolution"]),
                start=date.fromisoformat(document["start"]),
                end=None if end is None else date.fromisoformat(end),
                members=document["members"],
                created_at=instant(document["created_at"]),
                version=document["version"],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LakeError(f"{place} cannot be read: it is no bundle, or it is damaged", fix=RESTORE) from None

    def pin_name(self, moment: datetime) -> str:
        """What a pin of it is called that says what was known at a moment."""
        return f"{self.name}.{moment.astimezone(UTC).strftime(_MOMENT)}"


def check_bundle_name(name: str) -> str:
    """The name, if a bundle can be called so.

    Raises:
        ConfigError: it cannot.
    """
    return check_name(name, "a bundle", _LONGEST_NAME)


def store_bundle(storage: Storage, bundle: Bundle) -> Bundle:
    """Make a bundle durable; the one that has the name, which says the same.

    Raises:
        ConfigError: the name is taken by another bundle.
        LakeError: the lake cannot be written.
    """
    with explained(f"bundle {bundle.name!r} could not be written"):
        # A copy has the bundles of its lake, and no others.
        _ = storage.is_writable
        if storage.files.put_if_absent(_file_name(bundle.name), bundle.to_json().encode()):
            return bundle
    taken = read_bundle(storage, bundle.name)
    if taken != bundle:
        raise ConfigError(
            f"there is a bundle {bundle.name!r} already, and it names something else",
            fix=f"choose another name, or drop it: gb bundle drop {bundle.name}",
        )
    return taken


def read_bundle(storage: Storage, name: str) -> Bundle:
    """A bundle by its name.

    Raises:
        ConfigError: there is none.
        LakeError: it is damaged.
    """
    try:
        with explained(f"bundle {name!r} could not be read"):
            data = storage.files.read(_file_name(check_bundle_name(name)))
    except FileNotFoundError:
        near = did_you_mean(near_names(name, bundle_names(storage)), "`gb bundle list` has those that there are")
        raise ConfigError(f"there is no bundle {name!r}", fix=near) from None
    return Bundle.from_json(data, f"bundle {name!r}")


def bundle_names(storage: Storage) -> list[str]:
    """The names of all bundles, sorted."""
    return list_names(storage, _FOLDER)


def pins_of(storage: Storage, name: str) -> list[str]:
    """The names of a bundle's pins, the oldest one first; it need not be registered any more."""
    prefix = f"{check_bundle_name(name)}."
    return [
        pin for pin in pin_names(storage) if pin.startswith(prefix) and _PIN.fullmatch(pin, len(prefix)) is not None
    ]


def remove_bundle(storage: Storage, name: str) -> None:
    """Forget a bundle; no bar and no pin is touched."""
    with explained(f"bundle {name!r} could not be removed"):
        _ = storage.is_writable
        storage.files.delete(_file_name(name))


def _file_name(name: str) -> str:
    return f"{_FOLDER}/{name}.json"
