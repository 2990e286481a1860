"""This module finds the newest metadata of an Iceberg table and adds the next one, as the layout of Hadoop's tables has it.

Metadata are files `v1.metadata.json`, `v2.metadata.json` and so on, and `version-hint.text` says where readers begin to look. Who
makes the file of a number has committed: it is made only where the number is free, in a folder as in a bucket.
"""

from __future__ import annotations

import re
from contextlib import suppress

from pyiceberg.exceptions import ValidationError
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil

from gb_pipeline.errors import LakeError
from gb_pipeline.iceberg.exported import FOLDER, hint_name
from gb_pipeline.iceberg.place import Place
from gb_pipeline.storage.fault_points import reach

_NAME = re.compile(r"v(\d+)\.metadata\.json")


class Conflict(Exception):
    """Somebody else made the next version first."""


def metadata_name(place: Place, version: int) -> str:
    """The file of a version, relative to the root of the lake."""
    return f"{place.folder}/metadata/v{version}.metadata.json"


def find_newest(place: Place) -> int:
    """The number of the newest version; 0 where there is none."""
    files = place.storage.files
    version = _read_hint(place)
    if version is None or files.size(metadata_name(place, version)) is None:
        names = (name.rsplit("/", 1)[-1] for name, _, _ in files.list(f"{place.folder}/metadata"))
        return max((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), default=0)
    # A killed writer may have left the hint behind.
    while files.size(metadata_name(place, version + 1)) is not None:
        version += 1
    return version


def read_version(place: Place, version: int) -> TableMetadata:
    """The metadata of a version.

    Raises:
        LakeError: they are not readable.
    """
    name = metadata_name(place, version)
    try:
        return TableMetadataUtil.parse_raw(place.storage.files.read(name).decode())
    except (OSError, ValueError, ValidationError) as error:
        raise damaged_table(place, f"{name} cannot be read: {str(error).splitlines()[0]}") from error


def damaged_table(place: Place, problem: str) -> LakeError:
    """The error for a table whose metadata are not those that were written."""
    return LakeError(
        f"the Iceberg table over {place.table} is damaged: {problem}",
        fix=f"remove the folder {FOLDER}/{place.table} of the lake, then run `gb export --iceberg`: it is made anew",
    )


def add_version(place: Place, version: int, metadata: TableMetadata) -> None:
    """Make a version, durably, and let readers find it.

    Raises:
        Conflict: there is one of this number.
    """
    data = metadata.model_dump_json().encode()
    if not place.storage.files.put_if_absent(metadata_name(place, version), data):
        raise Conflict
    reach("iceberg_committed")
    point_to(place, version)


def point_to(place: Place, version: int) -> None:
    """Say in the hint which version is the newest, even if several do so at once."""
    files = place.storage.files
    if _read_hint(place) == version:
        return
    files.put(hint_name(place.table), str(version).encode())
    while files.size(metadata_name(place, version + 1)) is not None:
        version += 1
        files.put(hint_name(place.table), str(version).encode())


def _read_hint(place: Place) -> int | None:
    with suppress(FileNotFoundError, ValueError):
        return int(place.storage.files.read(hint_name(place.table)))
    return None
