"""Finding a secret in everything that a project leaves on disk.

Belongs here: what a file says once it is decompressed, and how a secret may be spelled. Does not belong here: planting any.
"""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import duckdb
import polars as pl
import pyarrow as pa


def spellings(secret: str) -> set[bytes]:
    """A secret as it is, in URLs, reversed bases and JSON; of base64, what does not depend on its neighbours."""
    raw = secret.encode()
    forms = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode(), raw.hex().encode()}
    for shift in range(3):
        padded = b"\0" * shift + raw
        inner = slice(4 if shift else 0, len(padded) // 3 * 4)
        forms |= {base64.b64encode(padded)[inner], base64.urlsafe_b64encode(padded)[inner]}
    return {form.lower() for form in forms}


def leaks(secret: str, folder: Path, *, apart_from: Iterable[Path] = ()) -> list[str]:
    """Every place below a folder that holds a secret, names of files included."""
    forms, skipped = spellings(secret), {path.resolve() for path in apart_from}
    found = []
    for path in sorted(folder.rglob("*")):
        if any(form in str(path.relative_to(folder)).lower().encode() for form in forms):
            found.append(f"the name of {path}")
        if path.is_file() and path.resolve() not in skipped:
            found += [f"{path} ({kind})" for kind, text in contents(path) if holds(text, forms)]
    return found


def holds(text: bytes, forms: Iterable[bytes]) -> bool:
    low = text.lower()
    return any(form in low for form in forms)


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """What a file says: its bytes, and whatever they are a compressed form of."""
    raw = path.read_bytes()
    yield "bytes", raw
    if path.suffix == ".parquet":
        yield "rows", str(pl.read_parquet(path, hive_partitioning=False).to_dicts()).encode()
    elif path.suffix == ".zst":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            yield "body", stream.read()
    elif path.suffix == ".duckdb":
        yield from _duckdb(path)
    elif raw.startswith(b"SQLite format 3\0"):
        yield from _sqlite(path)


def _duckdb(path: Path) -> Iterator[tuple[str, bytes]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute("select table_name from duckdb_tables()").fetchall()
        for (name,) in tables:
            yield name, str(connection.execute(f'select * from "{name}"').fetchall()).encode()


def _sqlite(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (name,) in tables:
            for row in connection.execute(f'select * from "{name}"'):
                for value in row:
                    yield name, _inflated(value)


def _inflated(value: object) -> bytes:
    # Dagster compresses its snapshots of jobs.
    if isinstance(value, bytes):
        try:
            return zlib.decompress(value)
        except zlib.error:
            return value
    return str(value).encode()
