"""This module hashes what is stored, in a way that does not depend on how it is stored.

The fingerprint of a (source, symbol, resolution, session) in one precision is made of the first 8 bytes of SHA-256 over:

- the line `gb-bars-3 <source> <symbol> <resolution> <precision>\\n` in UTF-8;
- the session as days since 1970-01-01 (4 bytes), the number of rows (8 bytes), and one byte of which bit 0 says that a row has
  a `trade_count` and bit 1 that a row has a `vwap`;
- the rows, sorted by timestamp, one after the other: the timestamp in microseconds since 1970-01-01 UTC (8 bytes), then
  `open, high, low, close, volume`. Where any row has a `trade_count` or a `vwap`, every row goes on with those of the two that
  there are, and ends with a byte of the same two bits about itself.

All numbers are signed and little-endian; `trade_count` has 8 bytes, decimals are their unscaled integers in 8 bytes
(`Decimal(18,8)`) or 16 (`Decimal(38,18)`), and what is absent is 0. Nothing about versions is part of it (`known_at`,
`superseded_at`, `withdrawn`), nor is anything about files or the order of rows. Higher levels hash the lower ones
(`combine`).

A bar of a day or longer is a session by itself, and 8 random bytes would be as much as a third of it. Its fingerprint is a check
number of 28 bits: modulo the prime 268,435,399, the sum of its numbers, each times a factor of its own (`_check_numbers`). A
change of one number changes it always, unless the prime divides the change, which it does with no change of one digit; other
changes go unseen once in 268 million. So it proves what is stored, and is not asked whether an answer says something new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import OPTIONAL, Precision
from gb_pipeline.quality.canonical_rows import (
    VERSION,
    Columns,
    Lines,
    Present,
    first_bytes,
    first_lines,
    integer_columns,
    lay_out,
)
from gb_pipeline.quality.runs import Integers, SessionRuns, session_runs, whole_numbers

FINGERPRINTS = pl.Schema({"symbol": pl.String(), "session": pl.Date(), "rows": pl.Int64(), "fingerprint": pl.Int64()})
PRIME = 268_435_399
# Rows that are laid out at once: few enough to stay in the processor's cache until they are hashed.
_BLOCK = 65_536


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
    return describe_runs(session_runs(frame), source, resolution, precision)


def describe_runs(runs: SessionRuns, source: str, resolution: Resolution, precision: Precision) -> pl.DataFrame:
    """The same of runs."""
    fingerprints = fingerprint_runs(runs, source, resolution, precision)
    columns = [runs.symbols, runs.sessions, pl.Series(runs.counts), pl.Series(fingerprints)]
    return pl.DataFrame([values.alias(name) for name, values in zip(FINGERPRINTS, columns, strict=True)])


def fingerprint_runs(runs: SessionRuns, source: str, resolution: Resolution, precision: Precision) -> Integers:
    """Fingerprints of runs, as an array as long as theirs; see `session_fingerprints`."""
    if len(runs.starts) == 0:
        return np.empty(0, np.int64)
    columns, present = integer_columns(runs.frame, precision)
    lines = first_lines(runs.symbols, source, resolution, precision)
    if not resolution.intraday:
        is_single = runs.counts == 1
        if is_single.all():
            return _check_numbers(runs, columns, present, lines)
        fingerprints = _hash_runs(runs, columns, present, lines)
        fingerprints[is_single] = _check_numbers(runs, columns, present, lines)[is_single]
        return fingerprints
    return _hash_runs(runs, columns, present, lines)


def _hash_runs(runs: SessionRuns, columns: Columns, present: Present, lines: Lines) -> Integers:
    """The first 8 bytes of the SHA-256 of every run."""
    masks = np.bitwise_or.reduceat(present, runs.starts)
    numbers = np.empty(len(runs.starts), dtype=[("session", "<i4"), ("rows", "<i8"), ("mask", "u1")])
    numbers["session"], numbers["rows"], numbers["mask"] = whole_numbers(runs.sessions), runs.counts, masks
    fingerprints = np.empty(len(runs.starts), np.int64)
    for mask in np.unique(masks).tolist():
        is_absent = {name: not mask >> bit & 1 for bit, name in enumerate(OPTIONAL)}
        shown = {name: values for name, values in columns.items() if not is_absent.get(name, False)}
        chosen = np.flatnonzero(masks == mask)
        digests = _hash_chosen(runs, chosen, shown, present if mask else None, lines, numbers[chosen])
        fingerprints[chosen] = np.frombuffer(digests, dtype="<i8").reshape(-1, 4)[:, 0]
    return fingerprints


def _hash_chosen(
    runs: SessionRuns,
    chosen: Integers,
    columns: Columns,
    present: Present | None,
    lines: Lines,
    numbers: npt.NDArray[Any],
) -> bytes:
    """The digests of some runs, one after the other."""
    starts, ends = runs.starts[chosen], runs.starts[chosen] + runs.counts[chosen]
    first_lines = lines.of(chosen)

    def hash_block(first: int, last: int) -> bytes:
        low, high = int(starts[first]), int(ends[last - 1])
        rows = lay_out(columns, present, low, high).view(np.uint8).data
        width = len(rows) // (high - low)
        heads = numbers[first:last].tobytes()
        size = numbers.itemsize
        sha256 = hashlib.sha256
        return b"".join(
            [
                sha256(line + heads[at : at + size] + rows[start:end]).digest()
                for line, at, start, end in zip(
                    first_lines[first:last],
                    range(0, len(heads), size),
                    ((starts[first:last] - low) * width).tolist(),
                    ((ends[first:last] - low) * width).tolist(),
                    strict=True,
                )
            ]
        )

    cuts = np.unique(np.searchsorted(starts, np.arange(0, runs.frame.height, _BLOCK)))
    blocks = list(pairwise([*cuts[cuts < len(starts)].tolist(), len(starts)]))
    if len(blocks) == 1:
        return hash_block(*blocks[0])
    # Copying and hashing much at once release the interpreter.
    with ThreadPoolExecutor(2) as pool:
        return b"".join(pool.map(lambda block: hash_block(*block), blocks))


def _check_numbers(runs: SessionRuns, columns: Columns, present: Present, lines: Lines) -> Integers:
    """A number modulo `PRIME` for the first row of every run.

    It is the sum of the line as a number, of the session, of the row's numbers and of the byte that says what it has, each but
    the first times its `_factor`.
    """
    total = lines.numbers(PRIME) + whole_numbers(runs.sessions) * _factor("session")
    for name, values in (*columns.items(), ("present", present)):
        rows = values[runs.starts]
        if rows.ndim == 2:
            low, high = _remainders(rows[:, 0].view(np.uint64)), _remainders(rows[:, 1])
            rows = low + high * (2**64 % PRIME)
        total += _remainders(rows) * _factor(name)
    return _remainders(total)


def _remainders(numbers: npt.NDArray[Any]) -> Integers:
    """Numbers modulo `PRIME`; NumPy divides by one number far faster than it finds the remainder."""
    whole = numbers if numbers.dtype.itemsize == 8 else numbers.astype(np.int64)
    return (whole - whole // PRIME * PRIME).astype(np.int64, copy=False)


@cache
def _factor(name: str) -> int:
    """What a number of this name counts: from 1 to `PRIME - 1`, by the SHA-256 of `gb-bars-3 <name>`."""
    return 1 + first_bytes(f"{VERSION} {name}".encode()) % (PRIME - 1)


def fingerprint_text(fingerprints: pl.Series) -> pl.Series:
    """Fingerprints as people see them: 16 hexadecimal digits, the 8 bytes of the number, which are the first of the SHA-256.

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
