"""Same rows, same fingerprint; other rows, another one."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import pairwise
from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.bars import validate
from gb_pipeline.quality.fingerprint import combine, fingerprint_text, session_fingerprints
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import day, minutes

DAY = date(2024, 1, 2)
DAYS_SINCE_1970 = (DAY - date(1970, 1, 1)).days
STAMP = 1_704_153_600_000_000
# The first row of `minutes`, as the integers that are stored.
ROW = (10_025_000_000, 10_150_000_000, 10_012_500_000, 10_075_000_000, 100_000_000)


def good(frame: pl.DataFrame, precision: Precision = Precision.STANDARD) -> pl.DataFrame:
    return validate(frame, BarRules(precision=precision), day("2024-01-02", 40)).good


def prints(frame: pl.DataFrame, precision: Precision = Precision.STANDARD) -> dict[tuple[str, date], int]:
    found = session_fingerprints(good(frame, precision), "sim", Resolution.MINUTE, precision)
    return {(symbol, session): value for symbol, session, _, value in found.iter_rows()}


def first_eight_bytes(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True)


def test_the_canonical_bytes_are_what_the_definition_says() -> None:
    head = b"gb-bars-3 sim BTC-USD 1m standard\n" + struct.pack("<iqB", DAYS_SINCE_1970, 2, 0b11)
    first = struct.pack("<8qB", STAMP, *ROW, 0, 0, 0b00)
    second = struct.pack(
        "<8qB", STAMP + 60_000_000, 10_125_000_000, 10_250_000_000, 10_112_500_000, 10_175_000_000, 100_001_000,
        5, 10_150_000_000, 0b11,
    )  # fmt: skip
    frame = minutes("2024-01-02", 2).with_columns(trade_count=pl.Series([None, "5"]), vwap=pl.Series([None, "101.5"]))
    assert prints(frame) == {("BTC-USD", DAY): first_eight_bytes(head + first + second)}


def test_columns_that_a_session_has_no_value_of_are_left_out() -> None:
    plain = struct.pack("<6q", STAMP, *ROW)
    counted = struct.pack("<7qB", STAMP, *ROW, 5, 0b01)
    priced = struct.pack("<7qB", STAMP, *ROW, 10_150_000_000, 0b10)
    rows = {
        ("A", DAY): (None, None, 0b00, plain),
        ("B", DAY): ("5", None, 0b01, counted),
        ("C", DAY): (None, "101.5", 0b10, priced),
    }
    frame = pl.concat(
        minutes("2024-01-02", 1, symbol=symbol).with_columns(
            trade_count=pl.lit(count, pl.String), vwap=pl.lit(vwap, pl.String)
        )
        for (symbol, _), (count, vwap, _, _) in rows.items()
    )
    assert prints(frame) == {
        (symbol, session): first_eight_bytes(
            f"gb-bars-3 sim {symbol} 1m standard\n".encode() + struct.pack("<iqB", DAYS_SINCE_1970, 1, mask) + row
        )
        for (symbol, session), (_, _, mask, row) in rows.items()
    }


def test_wide_decimals_take_sixteen_bytes() -> None:
    frame = minutes("2024-01-02", 1).with_columns(volume=pl.lit("12345678901234567890.123456789012345678"))
    numbers = [value * 10**10 for value in ROW[:4]] + [12345678901234567890_123456789012345678]
    sizes = [16, 16, 16, 16, 16]
    row = b"".join(value.to_bytes(size, "little", signed=True) for value, size in zip(numbers, sizes, strict=True))
    head = b"gb-bars-3 sim BTC-USD 1m wide\n" + struct.pack("<iqB", DAYS_SINCE_1970, 1, 0)
    expected = first_eight_bytes(head + struct.pack("<q", STAMP) + row)
    assert prints(frame, Precision.WIDE) == {("BTC-USD", DAY): expected}


def test_negative_numbers_are_hashed_as_they_are() -> None:
    frame = minutes("2024-01-02", 1).with_columns(open=pl.lit("-5"), low=pl.lit("-5.5"))
    rules = BarRules(allow_negative_prices=True)
    rows = validate(frame, rules, day("2024-01-02")).good
    standard, wide = rows, rows.with_columns(pl.col(pl.Decimal(18, 8)).cast(pl.Decimal(38, 18)))
    head = b"gb-bars-3 sim BTC-USD 1m %s\n" + struct.pack("<iqB", DAYS_SINCE_1970, 1, 0)
    values = [-500_000_000, ROW[1], -550_000_000, *ROW[3:]]
    short = struct.pack("<6q", STAMP, *values)
    long = b"".join((value * 10**10).to_bytes(16, "little", signed=True) for value in values)
    for frame, precision, row in (
        (standard, Precision.STANDARD, short),
        (wide, Precision.WIDE, struct.pack("<q", STAMP) + long),
    ):
        found = session_fingerprints(frame, "sim", Resolution.MINUTE, precision)["fingerprint"].item()
        assert found == first_eight_bytes(head.replace(b"%s", precision.value.encode()) + row)


def test_order_and_spelling_of_the_answer_do_not_matter() -> None:
    frame = minutes("2024-01-02", 50)
    spelled = frame.with_columns(pl.format("{}000", "open"))
    assert prints(frame) == prints(frame.reverse()) == prints(spelled)


@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 4000), max_size=6))
def test_order_of_rows_and_the_pieces_they_come_in_do_not_matter(random: Random, cuts: list[int]) -> None:
    rows = good(pl.concat([minutes("2024-01-02", 2000, symbol=name) for name in ("ETH-USD", "BTC-USD")]))
    expected = session_fingerprints(rows, "sim", Resolution.MINUTE, Precision.STANDARD)
    edges = [0, *sorted(cuts), rows.height]
    pieces = [rows[low:high] for low, high in pairwise(edges)]
    random.shuffle(pieces)
    pieced = pl.concat(pieces, rechunk=False)
    assert session_fingerprints(pieced, "sim", Resolution.MINUTE, Precision.STANDARD).equals(expected)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=len(cuts))
    assert session_fingerprints(shuffled, "sim", Resolution.MINUTE, Precision.STANDARD).equals(expected)


def test_a_session_has_the_same_fingerprint_alone_and_among_many() -> None:
    # More rows than are laid out at once.
    rows = good(pl.concat([minutes("2024-01-02", 40_000, symbol=name) for name in ("A", "B")]))
    found = session_fingerprints(rows, "sim", Resolution.MINUTE, Precision.STANDARD)
    assert (found.height, found["rows"].sum(), found["fingerprint"].n_unique()) == (56, 80_000, 56)
    alone = [
        session_fingerprints(part, "sim", Resolution.MINUTE, Precision.STANDARD)
        for part in rows.partition_by("symbol", "session")
    ]
    assert found.equals(pl.concat(alone))


@given(st.integers(0, 49), st.sampled_from(["open", "high", "low", "close", "volume"]))
def test_the_last_digit_of_any_cell_matters(row: int, name: str) -> None:
    frame = minutes("2024-01-02", 50)
    nudge = "-0.00000001" if name == "low" else "0.00000001"
    cells = pl.when(pl.int_range(pl.len()) == row).then(pl.lit(nudge)).otherwise(pl.lit("0"))
    other = frame.with_columns((pl.col(name).str.to_decimal(scale=8) + cells.str.to_decimal(scale=8)).cast(pl.String))
    assert prints(other) != prints(frame)


def test_null_and_zero_are_different_content() -> None:
    frame = minutes("2024-01-02", 3)
    cells = [["1", None, "2"], ["1", "0", "2"], [None, None, None], ["0", "0", "0"]]
    found = {
        prints(frame.with_columns(pl.Series(name, values, dtype=pl.String())))["BTC-USD", DAY]
        for values in cells
        for name in ("trade_count", "vwap")
    }
    # Nothing at all is the same in both columns.
    assert len(found) == 2 * len(cells) - 1
    assert prints(frame) == prints(frame.with_columns(pl.lit(None, pl.String).alias("trade_count")))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: session_fingerprints(rows, "other", Resolution.MINUTE, Precision.STANDARD),
        lambda rows: session_fingerprints(rows, "sim", Resolution.MINUTE_5, Precision.STANDARD),
        lambda rows: session_fingerprints(rows, "sim", Resolution.MINUTE, Precision.WIDE),
        lambda rows: session_fingerprints(
            rows.with_columns(symbol=pl.lit("ETH-USD")), "sim", Resolution.MINUTE, Precision.STANDARD
        ),
        lambda rows: session_fingerprints(
            rows.with_columns(pl.col("session") + pl.duration(days=1)), "sim", Resolution.MINUTE, Precision.STANDARD
        ),
    ],
    ids=["source", "resolution", "precision", "symbol", "session"],
)
def test_whose_rows_they_are_matters(change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    rows = good(minutes("2024-01-02", 5))
    plain = session_fingerprints(rows, "sim", Resolution.MINUTE, Precision.STANDARD)["fingerprint"].item()
    assert change(rows)["fingerprint"].item() != plain


def test_nothing_about_versions_matters() -> None:
    rows = good(minutes("2024-01-02", 5))
    versions = rows.with_columns(known_at=pl.col("timestamp"), withdrawn=pl.lit(True))
    assert session_fingerprints(versions, "sim", Resolution.MINUTE, Precision.STANDARD).equals(
        session_fingerprints(rows, "sim", Resolution.MINUTE, Precision.STANDARD)
    )


def test_every_symbol_and_session_has_its_own() -> None:
    both = pl.concat([minutes("2024-01-02", 2000), minutes("2024-01-02", 2000, symbol="ETH-USD")])
    found = prints(both)
    assert len(found) == len(set(found.values())) == 4
    assert found["ETH-USD", DAY] == prints(minutes("2024-01-02", 1440, symbol="ETH-USD"))["ETH-USD", DAY]


def test_rows_that_are_no_bars_have_no_fingerprint() -> None:
    rows = good(minutes("2024-01-02", 5))
    with pytest.raises(WindowRefused, match="'close' lacks 1 values"):
        session_fingerprints(
            rows.with_columns(pl.when(pl.int_range(5) > 0).then("close").alias("close")),
            "sim",
            Resolution.MINUTE,
            Precision.STANDARD,
        )
    finer = rows.with_columns(pl.lit(Decimal("10000000000")).cast(pl.Decimal(38, 18)).alias("high"))
    with pytest.raises(WindowRefused, match="'high' holds values that do not fit"):
        session_fingerprints(finer, "sim", Resolution.MINUTE, Precision.STANDARD)


def test_no_rows_have_no_fingerprint() -> None:
    found = session_fingerprints(good(minutes("2024-01-02", 5)).clear(), "sim", Resolution.MINUTE, Precision.STANDARD)
    assert found.is_empty()
    assert found.columns == ["symbol", "session", "rows", "fingerprint"]


def test_people_see_the_first_digits_of_the_hash() -> None:
    data = [b"a", b"b", b"c", b"d"]
    values = pl.Series("fingerprint", [first_eight_bytes(item) for item in data] + [None])
    texts = fingerprint_text(values)
    assert texts.to_list() == [hashlib.sha256(item).hexdigest()[:16] for item in data] + [None]
    assert texts.name == "fingerprint"
    assert fingerprint_text(values[:0]).to_list() == []


def test_higher_levels_hash_the_lower_ones_in_the_order_of_their_names() -> None:
    assert (
        combine({"b": "2", "a": "1"}) == combine([("a", "1"), ("b", "2")]) == hashlib.sha256(b"a 1\nb 2\n").hexdigest()
    )
    assert combine({}) == combine({"a": ""}) == ""


def test_a_frame_is_named_by_its_other_columns() -> None:
    both = pl.concat([minutes("2024-01-02", 2000), minutes("2024-01-02", 2000, symbol="B-C")])
    frame = session_fingerprints(good(both), "sim", Resolution.MINUTE, Precision.STANDARD).drop("rows")
    texts = fingerprint_text(frame["fingerprint"])
    pairs = [
        (f"{symbol} {session}", text)
        for symbol, session, text in zip(frame["symbol"], frame["session"], texts, strict=True)
    ]
    assert combine(frame) == combine(pairs) == combine(frame.reverse()) == combine(frame.with_columns(texts))
    missing = frame.with_columns(pl.when(pl.int_range(pl.len()) > 0).then("fingerprint").alias("fingerprint"))
    assert combine(missing) == combine(pairs[1:]) != combine(pairs)
