"""`Key`, the name under which an answer is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

# Raised whenever what is kept under a key, or how it is written, changes.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Key:
    """What an answer is kept under.

    Attributes:
        lake: of which lake; answers of two lakes are never mixed.
        digest: of everything that decides the content, 32 hexadecimal digits.
        label: what it is about, for people who look into Redis: `bars:{BTC-USD}:1m:2024-01-01T00:00:00Z:2024-01-08T00:00:00Z`.
        lasting: whether the digest says the content itself, whoever asks and whenever; else it counts in this process only.
    """

    lake: str
    digest: str
    label: str
    lasting: bool = True

    @property
    def name(self) -> str:
        """In Redis, whose cluster keeps what has the same text in braces on one machine."""
        return f"{self.label}:{self.lake}:{self.digest}"


def lake_name(root: object) -> str:
    """A short name of a lake, by where it is."""
    return hashlib.blake2b(str(root).encode(), digest_size=6).hexdigest()


def digest_of(parts: Iterable[object]) -> str:
    """A digest of some values, by their text."""
    summed = hashlib.blake2b(digest_size=16)
    for part in (FORMAT, *parts):
        text = str(part).encode("utf-8", "surrogatepass")
        # With lengths, so that no two lists of texts look alike.
        summed.update(len(text).to_bytes(8, "little"))
        summed.update(text)
    return summed.hexdigest()
