"""`python -m gb_pipeline.api.decode`: an uploaded file of Arrow, Parquet or CSV becomes a plain Arrow file, within bounded memory.

A small file can decode to a huge one, and a broken one can end the process that reads it. So it is read by a process of its own,
which the system stops at its limits; whoever uploaded learns why, and the server goes on. It imports little, to begin soon.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from gb_pipeline.errors import FormatRefused

_SECONDS = 300
_BATCH_ROWS = 65_536
_CHUNK = 1 << 20
# What the libraries reserve before they read anything, without using it.
_RESERVED = 2 << 30
NEEDED = "send an Arrow IPC stream, Parquet or CSV with columns timestamp, open, high, low, close, volume"


def decode(source: Path, target: Path, format: str, *, most_rows: int, most_bytes: int) -> None:
    """Read an upload, and write its rows as an uncompressed Arrow file.

    Args:
        source: the file as it was sent.
        target: where the rows go.
        format: `arrow`, `parquet` or `csv`.
        most_rows, most_bytes: that it may decode to.

    Raises:
        FormatRefused: it is not what it says, is broken, or is larger than it may be.
    """
    command = [sys.executable, "-m", "gb_pipeline.api.decode", str(source), str(target), format, str(most_rows)]
    try:
        done = subprocess.run(
            [*command, str(most_bytes)], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise FormatRefused(
            f"the upload took longer than {_SECONDS} s to decode", fix="send less in one upload"
        ) from None
    if done.returncode == 0:
        return
    try:
        told: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        # The system ended it, or a library did.
        raise FormatRefused(f"the upload cannot be decoded as {format}", fix=NEEDED) from None
    raise FormatRefused(told["what"], fix=told["fix"])


def _run(source: str, target: str, format: str, most_rows: int, most_bytes: int) -> None:
    read = {"arrow": _read_arrow, "parquet": _read_parquet, "csv": _read_csv}[format]
    rows = size = 0
    if format == "parquet":
        _believe_footer(source, most_rows, most_bytes)
    batches = read(source)
    first = next(batches, None)
    if first is None:
        raise FormatRefused("the upload has no row", fix="send at least one bar")
    with pa.OSFile(target, "wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        for batch in _chain(first, batches):
            rows += batch.num_rows
            size += batch.nbytes
            if rows > most_rows:
                raise FormatRefused(f"the upload has more than {most_rows:,} rows", fix="send it as several uploads")
            if size > most_bytes:
                raise _too_large(most_bytes)
            batch.validate(full=True)
            writer.write_batch(batch)


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _too_large(most_bytes: int) -> FormatRefused:
    return FormatRefused(
        f"the upload decodes to more than {most_bytes / 2**30:.3g} GB", fix="send it as several uploads"
    )


def _read_arrow(source: str) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(source, "rb") as file:
        begins = file.read(6)
        file.seek(0)
        reader = pa.ipc.open_file(file) if begins == b"ARROW1" else pa.ipc.open_stream(file)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            yield from reader


def _believe_footer(source: str, most_rows: int, most_bytes: int) -> None:
    """Refuse a file that says itself that it is too large; one that lies is stopped later."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(source)
    if metadata.num_rows > most_rows:
        raise FormatRefused(f"the upload has more than {most_rows:,} rows", fix="send it as several uploads")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if sum(group.total_byte_size for group in groups) > most_bytes:
        raise _too_large(most_bytes)


def _read_parquet(source: str) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        yield from file.iter_batches(_BATCH_ROWS)


def _read_csv(source: str) -> Iterator[pa.RecordBatch]:
    """All columns as text, which numbers are made of without loss."""
    from pyarrow import csv

    with Path(source).open("rb") as file:
        head = file.readline(_CHUNK)
    names = next(
        iter(csv.read_csv(pa.BufferReader(head), csv.ReadOptions(autogenerate_column_names=True)).to_batches())
    )
    columns = {str(column[0].as_py()): pa.string() for column in names.columns}
    options = csv.ConvertOptions(column_types=columns, null_values=["", "null", "NA", "NaN"], strings_can_be_null=True)
    yield from csv.open_csv(source, csv.ReadOptions(block_size=_CHUNK), convert_options=options)


def _limit_memory(most_bytes: int) -> None:
    try:
        import resource
    except ImportError:
        # Windows has no such limit; rows and bytes are counted all the same.
        return
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes + _RESERVED, most_bytes + _RESERVED))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(arguments: list[str]) -> int:
    """Run as a program; what is refused is told on stdout as JSON."""
    source, target, format, most_rows, most_bytes = arguments
    _limit_memory(int(most_bytes))
    told: dict[str, Any]
    try:
        _run(source, target, format, int(most_rows), int(most_bytes))
    except FormatRefused as error:
        told = {"what": error.what, "fix": error.fix}
    except MemoryError:
        refused = _too_large(int(most_bytes))
        told = {"what": refused.what, "fix": refused.fix}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        told = {"what": f"the upload cannot be read as {format}: {reason}", "fix": NEEDED}
    else:
        return 0
    sys.stdout.write(json.dumps(told))
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
