"""Resolutions: one spelling inside, many outside."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import InvalidResolution
from gb_pipeline.market.resolution import Resolution


@pytest.mark.parametrize("resolution", Resolution)
def test_a_resolution_reads_its_own_name(resolution: Resolution) -> None:
    assert Resolution.parse(resolution) is resolution
    assert Resolution.parse(resolution.value) is resolution
    assert Resolution.parse(f"  {resolution.value} ") is resolution


def test_a_capital_m_is_a_month_and_never_a_minute() -> None:
    assert Resolution.parse("1M") is Resolution.MONTH
    with pytest.raises(InvalidResolution):
        Resolution.parse("5M")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1min", "1m"), ("5 minutes", "5m"), ("Hour", "1h"), ("daily", "1d"), ("Day", "1d"), ("1M", "1mo"), ("60s", "1m"),
        ("60m", "1h"), ("90m", None), ("120min", "2h"), ("240m", "4h"), ("180min", "3h"), ("3m", "3m"), ("6 hours", "6h"),
        ("8H", "8h"), ("720m", "12h"), ("1D", "1d"), ("1W", "1w"), ("week", "1w"),
        ("1_hour", "1h"), ("1-hour", "1h"), ("tick", "tick"), ("24h", None), ("7d", None), ("2w", None), ("0m", None),
        ("", None), ("1", None), ("m1", None), ("-1m", None), ("1.5h", None), ("99999999m", None), ("١m", None),
        ("1m\n", "1m"), ("1m; drop", None), ("2 ticks", None),
    ],
)  # fmt: skip
def test_common_spellings_are_read_and_others_refused(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InvalidResolution) as refusal:
            Resolution.parse(text)
        assert "1mo" in refusal.value.fix
    else:
        assert Resolution.parse(text).value == expected


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_by_our_own_error(text: str) -> None:
    with suppress(InvalidResolution):
        assert isinstance(Resolution.parse(text), Resolution)


def test_intraday_durations_grow_and_divide_the_day() -> None:
    lengths = [item.duration for item in Resolution if item.duration]
    assert lengths == sorted(lengths)
    assert all(timedelta(days=1) % length == timedelta() for length in lengths)
    assert [item for item in Resolution if not item.intraday] == ["tick", "1d", "1w", "1mo"]


def test_table_names_tell_resolutions_apart() -> None:
    assert len({item.table for item in Resolution}) == len(Resolution)
