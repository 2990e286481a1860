"""A hash of what is stored that does not depend on how it is stored.

Belongs here: the canonical bytes. The fingerprint of a (source, symbol, resolution, session) is SHA-256 over a header and,
column by column, the little-endian bytes of the rows in the order of their timestamps; `known_at` is left out. A higher
level hashes the fingerprints of the level below. Same rows, same fingerprint, whatever the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import polars as pl

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision


def session_fingerprints(
    frame: pl.DataFrame, source: str, resolution: Resolution, precision: Precision
) -> dict[tuple[str, date], str]:
    """Fingerprints of every (symbol, session) of a frame.

    Args:
        frame: columns `symbol`, `session` (Date), `timestamp` and the content columns in the stored types; sorted by
            symbol and timestamp.

    Returns:
        Hexadecimal SHA-256 by (symbol, session).
    """
    if frame.is_empty():
        return {}
    groups = (
        frame.with_row_index("row")
        .group_by("symbol", "session", maintain_order=True)
        .agg(pl.col("row").first().alias("first"), pl.len().alias("rows"))
    )
    columns = [_bytes_of(frame["timestamp"].to_physical())] + [
        _bytes_of(_physical(frame[name], precision)) for name in CONTENT
    ]
    prints = {}
    for symbol, session, first, rows in groups.iter_rows():
        digest = hashlib.sha256(f"gb-bars-1 {source} {symbol} {resolution} {session} {precision} {rows}\n".encode())
        for values, valid in columns:
            _update(digest, values, valid, first, first + rows)
        prints[symbol, session] = digest.hexdigest()
    return prints


def combine(parts: Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a higher level: SHA-256 over the lower ones, sorted by name.

    Args:
        parts: fingerprints by the name of what they describe, such as a session's ISO date; empty ones are left out.

    Returns:
        Hexadecimal SHA-256; empty when there is nothing.
    """
    items = sorted((name, value) for name, value in dict(parts).items() if value)
    if not items:
        return ""
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in items).encode()).hexdigest()


def _physical(series: pl.Series, precision: Precision) -> pl.Series:
    if series.dtype.is_decimal():
        physical = series.cast(precision.decimal).to_physical()
        return physical if precision is Precision.WIDE else physical.cast(pl.Int64)
    return series.cast(pl.Int64)


def _bytes_of(series: pl.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows as an array with one little-endian item per row, and the validity where something is null."""
    valid = series.is_not_null().to_numpy() if series.null_count() else None
    filled = series.fill_null(0)
    if filled.dtype == pl.Int128:
        buffer = filled.cast(pl.Decimal(38, 0)).to_arrow().buffers()[1]
        return np.frombuffer(buffer, dtype="V16", count=len(filled)), valid
    return filled.cast(pl.Int64).to_numpy().astype("<i8", copy=False), valid


def _update(digest: hashlib._Hash, values: np.ndarray, valid: np.ndarray | None, first: int, last: int) -> None:
    part = None if valid is None else valid[first:last]
    if part is None or part.all():
        digest.update(b"V")
    elif not part.any():
        digest.update(b"N")
        return
    else:
        digest.update(b"M" + np.packbits(part, bitorder="little").tobytes())
    digest.update(np.ascontiguousarray(values[first:last]).tobytes())
