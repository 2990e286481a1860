"""This module hashes what is stored, in a way that does not depend on how it is stored.

The fingerprint of a (source, symbol, resolution, session) in one precision is made of the first 8 bytes of SHA-256 over:

- the line `gb-bars-2 <source> <symbol> <resolution> <precision>\\n` in UTF-8;
- the session as days since 1970-01-01 (4 bytes) and the number of rows (8 bytes);
- the rows, sorted by timestamp, one after the other: the timestamp in microseconds since 1970-01-01 UTC (8 bytes), then
  `open, high, low, close, volume, trade_count, vwap`, and one byte of which bit 0 says that there is a `trade_count`
  and bit 1 that there is a `vwap`.

All numbers are signed and little-endian; `trade_count` has 8 bytes, decimals are their unscaled integers in 8 bytes
(`Decimal(18,8)`) or 16 (`Decimal(38,18)`), and what is absent is 0. Nothing about versions is part of it (`known_at`,
`superseded_at`, `withdrawn`), nor is anything about files or the order of rows. Higher levels hash the lower ones
(`combine`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, OPTIONAL, Precision
from gb_pipeline.quality.exact import halves
from gb_pipeline.quality.runs import Integers, SessionRuns, row_runs, session_runs, whole_numbers

FINGERPRINTS = pl.Schema({"symbol": pl.String(), "session": pl.Date(), "rows": pl.Int64(), "fingerprint": pl.Int64()})
VERSION = "gb-bars-2"
# Rows that are laid out at once: few enough to stay in the processor's cache until they are hashed.
_BLOCK = 32_768


def session_fingerprints(
    frame: pl.DataFrame, source: str, resolution: Resolution, precision: Precision
) -> pl.DataFrame:
    """Fingerprints of every (symbol, session) of a frame.

    Args:
        frame: columns `symbol`, `session` (Date), `timestamp` (Datetime us UTC) and the content columns in the types of
            `precision`, in any order of rows; rows without a session are left out.

    Returns:
        `symbol`, `session`, `rows` (Int64) and `fingerprint` (Int64), sorted by symbol and session.

    Raises:
        WindowRefused: a price or a volume is missing, or does not fit the precision.

    Example:
        >>> session_fingerprints(good, "sim", Resolution.MINUTE, Precision.STANDARD)["rows"].to_list()
        [1440]
    """
    runs = session_runs(frame)
    fingerprints = fingerprint_runs(runs, source, resolution, precision)
    columns = [runs.symbols, runs.sessions, pl.Series(runs.counts), pl.Series(fingerprints)]
    return pl.DataFrame([values.alias(name) for name, values in zip(FINGERPRINTS, columns, strict=True)])


def fingerprint_runs(runs: SessionRuns, source: str, resolution: Resolution, precision: Precision) -> Integers:
    """Fingerprints of runs, as an array as long as theirs; see `session_fingerprints`."""
    if len(runs.starts) == 0:
        return np.empty(0, np.int64)
    columns, valid = _columns(runs.frame, precision)
    lines = _lines(runs.symbols, source, resolution, precision)
    numbers = np.empty(len(runs.starts), dtype=[("session", "<i4"), ("rows", "<i8")])
    numbers["session"], numbers["rows"] = whole_numbers(runs.sessions), runs.counts

    def hash_block(first: int, last: int) -> bytes:
        low, high = int(runs.starts[first]), int(runs.starts[last - 1] + runs.counts[last - 1])
        rows = _lay_out(columns, valid, low, high).view(np.uint8).data
        width = len(rows) // (high - low)
        starts = ((runs.starts[first:last] - low) * width).tolist()
        ends = [*starts[1:], len(rows)]
        tails = numbers[first:last].tobytes()
        size = numbers.itemsize
        sha256 = hashlib.sha256
        return b"".join(
            [
                sha256(line + tails[at : at + size] + rows[start:end]).digest()
                for line, at, start, end in zip(
                    lines[first:last], range(0, len(tails), size), starts, ends, strict=True
                )
            ]
        )

    cuts = np.unique(np.searchsorted(runs.starts, np.arange(0, runs.frame.height, _BLOCK)))
    edges = [*cuts[cuts < len(runs.starts)].tolist(), len(runs.starts)]
    blocks = list(pairwise(edges))
    if len(blocks) == 1:
        digests = [hash_block(*blocks[0])]
    else:
        # Copying and hashing much at once release the interpreter.
        with ThreadPoolExecutor(2) as pool:
            digests = list(pool.map(lambda block: hash_block(*block), blocks))
    return np.frombuffer(b"".join(digests), dtype="<i8").reshape(-1, 4)[:, 0].astype(np.int64)


def fingerprint_text(fingerprints: pl.Series) -> pl.Series:
    """Fingerprints as people see them: the first 16 hexadecimal digits of the SHA-256.

    Args:
        fingerprints: Int64.

    Returns:
        String of the same name; null where the fingerprint is.

    Example:
        >>> fingerprint_text(pl.Series([1, -1])).to_list()
        ['0100000000000000', 'ffffffffffffffff']
    """
    filled = fingerprints.cast(pl.Int64).fill_null(0).to_numpy().astype("<i8", copy=False)
    raw = pa.Array.from_buffers(pa.binary(8), len(filled), [None, pa.py_buffer(np.ascontiguousarray(filled))])
    text = pl.Series(fingerprints.name, pl.from_arrow(raw)).bin.encode("hex")
    return text.set(fingerprints.is_null(), None) if fingerprints.null_count() else text


def combine(parts: pl.DataFrame | Mapping[str, str] | Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a higher level: SHA-256 over one line `<name> <fingerprint>\\n` for each lower one.

    Lines are sorted by name, in the order of its UTF-8 bytes; a fingerprint stands in them as 16 hexadecimal digits, or
    as the text it is.

    Args:
        parts: a frame with `fingerprint` (Int64 or String) and the columns that name it, such as `symbol` and `session`,
            joined by a space; or names and texts. What has no fingerprint (null, empty) is left out.

    Returns:
        Hexadecimal SHA-256; empty when there is nothing.

    Example:
        >>> combine(described.select("symbol", "session", "fingerprint")) == combine([("BTC-USD 2024-01-02", "4e0f...")])
        True
    """
    if isinstance(parts, pl.DataFrame):
        lines = parts.select(
            pl.concat_str(pl.exclude("fingerprint").cast(pl.String), separator=" ").alias("name"), "fingerprint"
        )
        if lines.schema["fingerprint"] == pl.Int64:
            lines = lines.with_columns(fingerprint_text(lines["fingerprint"]))
    else:
        lines = pl.DataFrame(list(dict(parts).items()), schema=["name", "fingerprint"], orient="row")
        lines = lines.cast(pl.String)
    lines = lines.filter(pl.col("fingerprint").fill_null("") != "")
    if lines.is_empty():
        return ""
    if not lines["name"].is_sorted():
        lines = lines.sort("name", "fingerprint")
    text: str = lines.select(pl.concat_str("name", pl.lit(" "), "fingerprint", pl.lit("\n")).str.join("")).item()
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(symbols: pl.Series, source: str, resolution: Resolution, precision: Precision) -> list[bytes]:
    """The first line of every run; sorted symbols make long stretches of one."""
    starts, counts = row_runs(symbols.to_frame("symbol"), ["symbol"])
    lines: list[bytes] = []
    for symbol, count in zip(symbols[starts], counts.tolist(), strict=True):
        lines += [f"{VERSION} {source} {symbol} {resolution.value} {precision.value}\n".encode()] * count
    return lines


def _columns(frame: pl.DataFrame, precision: Precision) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.uint8]]:
    """Every column as an array with one integer (of 16 bytes: a pair of halves) per row, and the byte of what is there."""
    columns: dict[str, npt.NDArray[Any]] = {"timestamp": whole_numbers(frame["timestamp"])}
    valid = np.zeros(frame.height, np.uint8)
    for name in CONTENT:
        series = frame[name]
        if name in OPTIONAL:
            bit = 1 << OPTIONAL.index(name)
            if series.null_count() == 0:
                valid |= bit
            elif series.null_count() < len(series):
                valid |= series.is_not_null().to_numpy() * np.uint8(bit)
        elif series.null_count():
            raise WindowRefused(
                f"column {name!r} lacks {series.null_count()} values, so its rows are not bars",
                fix="pass only rows that passed every rule",
            )
        columns[name] = _integers(series, precision)
    return columns, valid


def _integers(series: pl.Series, precision: Precision) -> npt.NDArray[Any]:
    if series.null_count() == len(series):
        return np.zeros(
            (len(series), 2) if series.dtype.is_decimal() and precision is Precision.WIDE else len(series), np.int64
        )
    if not series.dtype.is_decimal():
        return (series.cast(pl.Int64).fill_null(0) if series.null_count() else series.cast(pl.Int64)).to_numpy()
    try:
        decimals = series if series.dtype == precision.decimal else series.cast(precision.decimal)
    except pl.exceptions.InvalidOperationError as error:
        raise WindowRefused(
            f"column {series.name!r} holds values that do not fit {precision.decimal}", fix="use `precision: wide`"
        ) from error
    pairs = halves(decimals.fill_null(0) if decimals.null_count() else decimals)
    return pairs if precision is Precision.WIDE else pairs[:, 0]


def _lay_out(
    columns: Mapping[str, npt.NDArray[Any]], valid: npt.NDArray[np.uint8], low: int, high: int
) -> npt.NDArray[Any]:
    kinds: list[Any] = [(name, "<i8", values.shape[1:]) for name, values in columns.items()]
    rows = np.empty(high - low, dtype=[*kinds, ("valid", "u1")])
    for name, values in columns.items():
        rows[name] = values[low:high]
    rows["valid"] = valid[low:high]
    return rows
