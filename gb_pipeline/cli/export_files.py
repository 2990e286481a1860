"""This module writes frames of bars into files that other programs read: CSV, Parquet and Arrow.

Frames are appended one by one, so that no more than one has to fit into memory. A file is there only when it is complete: it is
written beside its place and renamed. `export` chooses what is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from gb_pipeline.cli.output import note
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import did_you_mean, near_names

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


class Format(StrEnum):
    """What a file can be."""

    CSV = "csv"
    """Text; decimals digit by digit, moments in ISO 8601."""
    PARQUET = "parquet"
    """Parquet, compressed with ZSTD; decimals are decimals."""
    ARROW = "arrow"
    """Arrow's file format, which is Feather 2."""


_SUFFIXES = {
    ".csv": Format.CSV, ".parquet": Format.PARQUET, ".pq": Format.PARQUET, ".arrow": Format.ARROW, ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
}  # fmt: skip
_PICKLES = frozenset({".pkl", ".pickle", ".p"})


class Writer(Protocol):
    """Takes frames of the same columns."""

    def write(self, frame: pl.DataFrame) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Write what ends the file."""
        ...


def parse_format(path: Path, name: str | None) -> Format:
    """The format that `--format` names, or the suffix of a file.

    Raises:
        ConfigError: there is no such format, or they contradict each other; of pickles the message says why there is none.

    Example:
        >>> parse_format(Path("bars.feather"), None)
        <Format.ARROW: 'arrow'>
    """
    wanted = (name or path.suffix).strip().lower()
    said, own = (_SUFFIXES.get("." + text.strip().lower().lstrip(".")) for text in (name or "", path.suffix))
    if said is not None and own is not None and said is not own:
        raise ConfigError(
            f"{path} would hold {said}, and its suffix says {own}", fix="leave out --format, or name the file otherwise"
        )
    suffix = "." + wanted.lstrip(".")
    if suffix in _PICKLES:
        raise ConfigError(
            "pickles are not written: opening one runs whatever it says, and another version of pandas may not read it",
            fix="write .parquet, which pandas.read_parquet reads as fast",
        )
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    from gb_pipeline.formats.registry import writable

    known = [*(known_suffix.removeprefix(".") for known_suffix in _SUFFIXES), *writable()]
    what = f"{wanted!r} is not a format" if wanted else f"{path} has no suffix that names a format"
    hint = did_you_mean(near_names(wanted, known), f"use one of {', '.join(known)}")
    raise ConfigError(what, fix=f"{hint}, or say --format csv" if not wanted else hint)


@contextmanager
def new_file(path: Path, kind: Format, *, force: bool = False) -> Iterator[Writer]:
    """A file that is in its place when the block ends, and leaves nothing behind when it fails.

    Args:
        path: where to; its folder has to be there.
        kind: of the file.
        force: replace a file that is there.

    Raises:
        ConfigError: there is such a file already, or it cannot be written.
    """
    refuse_existing(path, force=force)
    from gb_pipeline.formats.writing.partial import partial_file

    try:
        with partial_file(path.absolute().parent, f".{path.name[:100]}.") as (partial, removed):
            say_removed(removed)
            with partial.open("wb") as file:
                writer = _WRITERS[kind](file)
                yield writer
                writer.close()
                file.flush()
                os.fsync(file.fileno())
            # Private by default is right for a temporary file, and wrong for the one that the user asked for.
            partial.chmod(0o666 & ~_umask())
            refuse_existing(path, force=force)
            partial.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from None


def say_removed(paths: Sequence[Path | str]) -> None:
    """Say what a killed export had left."""
    if paths:
        note(f"removed what an export that was killed had left: {', '.join(map(str, paths))}")


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise ConfigError where a file would be replaced that nobody said could be."""
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already", fix="name another file, or say --force to replace it")


def _cannot_write(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write {path}: {error.strerror}", fix="name another file")


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


class _CsvWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows = 0

    def write(self, frame: pl.DataFrame) -> None:
        texts = frame.with_columns(_csv_texts(frame))
        self._file.write(texts.write_csv(include_header=self._rows == 0).encode())
        self._rows += frame.height

    def close(self) -> None:
        """Nothing ends a CSV file."""


def _csv_texts(frame: pl.DataFrame) -> Iterator[pl.Expr]:
    """Columns as a person writes them: decimals without trailing zeros, moments with `Z`."""
    import polars as pl

    from gb_pipeline.formats.writing.conversion import plain_text

    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Decimal):
            yield plain_text(name)
        elif isinstance(kind, pl.Datetime):
            yield pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")


class _ParquetWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pa.parquet.ParquetWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.parquet

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class _ArrowWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def write(self, frame: pl.DataFrame) -> None:
        import pyarrow.ipc

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pyarrow.ipc.new_file(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_WRITERS: dict[Format, type[_CsvWriter | _ParquetWriter | _ArrowWriter]] = {
    Format.CSV: _CsvWriter,
    Format.PARQUET: _ParquetWriter,
    Format.ARROW: _ArrowWriter,
}
