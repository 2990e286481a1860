"""Files of lines with separated fields, compressed or not, as frames of text: some hundred thousand lines at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import FormatRefused

_GZIP, _ZIP = b"\x1f\x8b", b"PK"
# Some 400,000 trades.
_BLOCK = 32 << 20


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a file.

    Attributes:
        frame: a column of text for each field; null where it is empty.
        broken: lines with another number of fields.
        first: number of the first whole line, from 0, without the header and broken ones.
    """

    frame: pl.DataFrame
    broken: tuple[str, ...]
    first: int


def find_files(path: Path, *suffixes: str) -> list[Path]:
    """A file, or the files of a folder whose names end so, sorted."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.name.lower().endswith(suffixes) and file.is_file())


def place_of(file: Path, root: Path) -> str:
    """Its name below the path that was given."""
    return file.name if file == root else file.relative_to(root).as_posix()


def read_first_line(file: Path) -> list[str]:
    """The fields of the first line.

    Raises:
        FormatRefused: the file cannot be unpacked, or its first line is no text.
    """
    with _open(file) as stream:
        try:
            start = stream.read(1 << 20)
        except (OSError, pa.ArrowException, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(file, str(error)) from None
    line = start.split(b"\n", 1)[0].rstrip(b"\r")
    try:
        return [field.strip().strip('"') for field in line.decode("utf-8-sig").split(",")]
    except UnicodeDecodeError:
        raise _damaged(file, "its first line is no text") from None


def read_lines(file: Path, names: Sequence[str], *, has_header: bool) -> Iterator[Lines]:
    """The lines of a file.

    Args:
        file: plain, `.gz`, or a zip with one member.
        names: of its fields, in their order.
        has_header: whether the first line holds their names.

    Raises:
        FormatRefused: it breaks off, or is no text. What lies before was handed over.
    """
    import pyarrow.csv as pc

    broken: list[str] = []

    def keep(row: Any) -> str:
        broken.append(row.text)
        return "skip"

    at = 0
    with _open(file) as stream:
        try:
            reader = pc.open_csv(
                cast("IO[Any]", stream),
                read_options=pc.ReadOptions(
                    use_threads=False, block_size=_BLOCK, column_names=list(names), skip_rows=int(has_header)
                ),
                parse_options=pc.ParseOptions(invalid_row_handler=keep),
                convert_options=pc.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""],
                    quoted_strings_can_be_null=True,
                ),
            )  # fmt: skip
            for batch in reader:
                frame = cast("pl.DataFrame", pl.from_arrow(pa.Table.from_batches([batch])))
                told, broken[:] = tuple(broken), []
                yield Lines(frame, told, at)
                at += frame.height
            if broken:
                yield Lines(pl.DataFrame(schema=dict.fromkeys(names, pl.String())), tuple(broken), at)
        except StopIteration:
            return
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise _damaged(file, f"behind {at:,} lines: {error}") from None
        except (OSError, pa.ArrowException, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(file, f"behind {at:,} lines: {error}") from None


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked."""
    with file.open("rb") as raw:
        head = raw.read(2)
    if head == _ZIP:
        try:
            with zipfile.ZipFile(file) as archive:
                members = [name for name in archive.namelist() if not name.endswith("/")]
                if len(members) != 1:
                    raise _damaged(file, f"it has {len(members)} members, and one was expected")
                with archive.open(members[0]) as member:
                    yield pa.PythonFile(member, mode="r")
        except zipfile.BadZipFile as error:
            raise _damaged(file, str(error)) from None
    else:
        with pa.input_stream(str(file), compression="gzip" if head == _GZIP else None) as stream:
            yield stream


def _damaged(file: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{file}: {why}", fix="get the file again")
