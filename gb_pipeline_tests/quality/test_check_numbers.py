"""The fingerprint of a bar of a day or longer is a number of 28 bits, which no change of one digit leaves as it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.quality.fingerprint import PRIME, session_fingerprints

DAY = datetime(2024, 1, 2, tzinfo=UTC)
PRECISIONS = st.sampled_from(Precision)
BAR = {"open": 10_025, "high": 10_150, "low": -4, "close": 10_075, "volume": 3, "trade_count": 7, "vwap": 10_100}


def fingerprints(
    *bars: dict[str, int | None], precision: Precision = Precision.STANDARD, hours: int = 24, **changes: str
) -> list[int]:
    """Of bars of integers in units of the last digit, one session each, or several in one."""
    scale = precision.digits[1]
    stamps = [DAY + timedelta(hours=hours) * number for number in range(len(bars))]
    columns = [
        pl.Series(
            name,
            [value if name == "trade_count" or value is None else Decimal(value).scaleb(-scale) for value in values],
            dtype=pl.Int64() if name == "trade_count" else precision.decimal,
        )
        for name in CONTENT
        for values in [[bar[name] for bar in bars]]
    ]
    frame = pl.DataFrame([pl.Series("timestamp", stamps, dtype=pl.Datetime("us", "UTC")), *columns]).with_columns(
        pl.lit(changes.get("symbol", "BTC-USD")).alias("symbol"), pl.col("timestamp").dt.date().alias("session")
    )
    resolution = Resolution(changes.get("resolution", "1d"))
    return session_fingerprints(frame, changes.get("source", "sim"), resolution, precision)["fingerprint"].to_list()


@given(st.sampled_from(CONTENT), st.integers(0, 17), st.integers(1, 9), st.sampled_from([-1, 1]), PRECISIONS)
def test_no_change_of_one_digit_leaves_it_as_it_is(
    name: str, place: int, step: int, sign: int, precision: Precision
) -> None:
    changed = BAR | {name: BAR[name] + sign * step * 10**place}
    before, after = fingerprints(BAR, changed, precision=precision)
    # Both in one frame would differ by their session as well.
    [alone] = fingerprints(changed, precision=precision)
    assert 0 <= alone < PRIME
    assert alone != before
    assert after != before


@given(st.sampled_from(CONTENT), st.integers(-(10**17), 10**17), PRECISIONS)
def test_a_change_of_one_number_is_seen_unless_the_prime_divides_it(
    name: str, change: int, precision: Precision
) -> None:
    one, other = (fingerprints(bar, precision=precision) for bar in (BAR, BAR | {name: BAR[name] + change}))
    assert (one == other) == (change % PRIME == 0)


def test_the_prime_is_one_and_has_28_bits() -> None:
    assert PRIME < 2**28
    assert all(PRIME % number for number in range(2, 16_385))


def test_digits_above_64_bits_count() -> None:
    low, high = 12_345_678, 12_345_678 + 2**64
    assert fingerprints(BAR | {"high": low}, precision=Precision.WIDE) != fingerprints(
        BAR | {"high": high}, precision=Precision.WIDE
    )


def test_null_and_zero_are_different_content() -> None:
    bars = [BAR | {"trade_count": count, "vwap": vwap} for count in (None, 0) for vwap in (None, 0)]
    assert len({fingerprints(bar)[0] for bar in bars}) == 4


def test_numbers_that_change_places_are_seen() -> None:
    assert fingerprints(BAR) != fingerprints(BAR | {"open": BAR["close"], "close": BAR["open"]})


def test_whose_bar_it_is_matters() -> None:
    plain = fingerprints(BAR)
    others = [
        fingerprints(BAR, source="other"),
        fingerprints(BAR, symbol="ETH-USD"),
        fingerprints(BAR, resolution="1w"),
        fingerprints(BAR, BAR)[1:],
    ]
    assert plain not in others
    assert len({number for [number] in others}) == len(others)


def test_several_bars_in_one_session_are_hashed_as_those_of_minutes_are() -> None:
    """They could otherwise change places. A source that keeps unaligned bars may have them."""
    late = BAR | {"close": 5}
    [both], [turned] = fingerprints(BAR, late, hours=12), fingerprints(late, BAR, hours=12)
    assert both != turned
    assert abs(both) > PRIME
    assert fingerprints(BAR, BAR, late, BAR, hours=12)[1] != both


def test_of_many_bars_each_has_the_number_that_it_has_alone() -> None:
    bars = [BAR | {"close": number, "trade_count": number or None} for number in range(50)]
    together = fingerprints(*bars)
    assert len(set(together)) == 50
    assert together[0] == fingerprints(bars[0])[0]
