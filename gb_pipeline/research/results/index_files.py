"""This module keeps segments of the index of runs as Arrow files on this machine, mapped into memory when they are read.

Each segment has a folder that never changes, and a small JSON file names those that count, with checksums. What is damaged or
missing does not count, and the index is made of the table again.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4
from weakref import WeakKeyDictionary

import polars as pl
import pyarrow as pa

from gb_pipeline.research.results.segments import KINDS, Postings, Segment

_FORMAT = 2


@dataclass(frozen=True)
class Kept:
    """Segments that were kept, up to when what was known is in them (microseconds since 1970), and after which purge."""

    clock: int
    purges: int
    segments: Sequence[Segment]


class IndexFiles:
    """The files of one lake on this machine."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made before something is kept."""
        self.folder = folder
        # Folders of segments that this process has read or written.
        self._known: WeakKeyDictionary[Segment, dict[str, object]] = WeakKeyDictionary()

    def read(self, table_id: str) -> Kept | None:
        """What is kept of a table; None where that is nothing, or something is damaged."""
        try:
            manifest = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            if manifest["format"] != _FORMAT or manifest["table_id"] != table_id:
                return None
            segments = [self._read_segment(entry) for entry in manifest["segments"]]
            return Kept(int(manifest["clock"]), int(manifest["purges"]), segments)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException, pl.exceptions.PolarsError):
            return None

    def write(self, table_id: str, clock: int, purges: int, segments: Sequence[Segment]) -> None:
        """Keep segments; where there is no place for them, the index is made anew the next time."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            entries = [self._known.get(segment) or self._write_segment(segment) for segment in segments]
            about = {"format": _FORMAT, "table_id": table_id, "clock": clock, "purges": purges}
            text = json.dumps({**about, "segments": entries})
            fresh = self.folder / f".{uuid4().hex[:8]}.json"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(self.folder / "index.json")
            named = {entry["folder"] for entry in entries}
            for place in self.folder.glob("segment-*"):
                if place.name not in named:
                    # Who has it mapped into memory keeps it.
                    shutil.rmtree(place, ignore_errors=True)

    def _write_segment(self, segment: Segment) -> dict[str, object]:
        name = f"segment-{uuid4().hex[:12]}"
        place = self.folder / name
        place.mkdir()
        frames = {"runs": segment.runs, "keys": segment.keys}
        for kind in KINDS:
            frames |= {kind: segment.postings[kind].entries, f"{kind}-names": segment.postings[kind].names}
        checks = {}
        for file, frame in frames.items():
            path = place / f"{file}.arrow"
            frame.rechunk().write_ipc(path, compression="uncompressed")
            checks[file] = _checksum(path)
        entry: dict[str, object] = {"folder": name, "checksums": checks}
        self._known[segment] = entry
        return entry

    def _read_segment(self, entry: dict[str, object]) -> Segment:
        place = self.folder / str(entry["folder"])
        checks = entry["checksums"]
        assert isinstance(checks, dict)
        frames = {}
        for file, check in checks.items():
            path = place / f"{file}.arrow"
            if _checksum(path) != check:
                raise ValueError(f"{path} is damaged")
            frames[file] = _mapped(path)
        postings = {kind: Postings(frames[f"{kind}-names"], frames[kind]) for kind in KINDS}
        segment = Segment(frames["runs"], postings, frames["keys"])
        self._known[segment] = entry
        return segment


def _mapped(path: Path) -> pl.DataFrame:
    """A frame whose columns are the file's bytes in memory."""
    with pa.memory_map(str(path)) as file:
        return pl.DataFrame(pa.ipc.open_file(file).read_all())


def _checksum(path: Path) -> int:
    with pa.memory_map(str(path)) as file:
        return zlib.crc32(file.read_buffer())
