"""Same rows, same fingerprint; other rows, another one."""

from __future__ import annotations

import hashlib
import struct
from datetime import date

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.bars import judge
from gb_pipeline.quality.fingerprint import combine, session_fingerprints
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import day, minutes

DAY = date(2024, 1, 2)


def prints(frame: pl.DataFrame, precision: Precision = Precision.STANDARD) -> dict[tuple[str, date], str]:
    good = judge(frame, BarRules(precision=precision), day("2024-01-02", 3)).good
    return session_fingerprints(good, "sim", Resolution.MINUTE, precision)


def test_the_canonical_bytes_are_what_the_definition_says() -> None:
    text = b"gb-bars-1 sim BTC-USD 1m 2024-01-02 standard 1\n"
    stamp = 1_704_153_600_000_000
    numbers = [stamp, 10_025_000_000, 10_150_000_000, 10_012_500_000, 10_075_000_000, 100_000_000]
    expected = hashlib.sha256(text + b"".join(b"V" + struct.pack("<q", number) for number in numbers) + b"N" + b"N")
    assert prints(minutes("2024-01-02", 1)) == {("BTC-USD", DAY): expected.hexdigest()}


def test_order_and_spelling_of_the_answer_do_not_matter() -> None:
    frame = minutes("2024-01-02", 50)
    spelled = frame.with_columns(pl.format("{}000", "open"))
    assert prints(frame) == prints(frame.reverse()) == prints(spelled)


@given(st.integers(0, 49), st.sampled_from(["open", "high", "low", "close", "volume"]))
def test_the_last_digit_of_any_cell_matters(row: int, name: str) -> None:
    frame = minutes("2024-01-02", 50)
    nudge = "-0.00000001" if name == "low" else "0.00000001"
    cells = pl.when(pl.int_range(pl.len()) == row).then(pl.lit(nudge)).otherwise(pl.lit("0"))
    other = frame.with_columns((pl.col(name).str.to_decimal(scale=8) + cells.str.to_decimal(scale=8)).cast(pl.String))
    assert prints(other) != prints(frame)


def test_null_and_zero_are_different_content() -> None:
    frame = minutes("2024-01-02", 3)
    counts = [["1", None, "2"], ["1", "0", "2"], [None, None, None], ["0", "0", "0"]]
    found = {prints(frame.with_columns(pl.Series("trade_count", c, dtype=pl.String())))["BTC-USD", DAY] for c in counts}
    assert len(found) == len(counts)
    assert prints(frame) == prints(frame.with_columns(pl.lit(None, pl.String).alias("trade_count")))


def test_every_symbol_and_session_has_its_own() -> None:
    both = pl.concat([minutes("2024-01-02", 2000), minutes("2024-01-02", 2000, symbol="ETH-USD")])
    found = prints(both)
    assert len(found) == len(set(found.values())) == 4
    assert found["ETH-USD", DAY] == prints(minutes("2024-01-02", 1440, symbol="ETH-USD"))["ETH-USD", DAY]


def test_wide_numbers_are_hashed_with_all_their_digits() -> None:
    frame = minutes("2024-01-02", 2)
    finer = frame.with_columns(pl.format("{}0000000000001", "volume"))
    assert prints(finer, Precision.WIDE) != prints(frame, Precision.WIDE)


def test_higher_levels_hash_the_lower_ones_in_the_order_of_their_names() -> None:
    assert combine({"b": "2", "a": "1"}) == hashlib.sha256(b"a 1\nb 2\n").hexdigest()
    assert combine({}) == combine({"a": ""}) == ""
