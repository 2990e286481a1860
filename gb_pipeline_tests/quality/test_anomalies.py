"""Suspicious bars are exactly those that the plain definition names, and no others."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.quality import anomalies
from gb_pipeline.quality.anomalies import OUTLIER_MEDIANS, OUTLIER_SHARE, STALE_RUN, find_anomalies

FIRST = datetime(2024, 1, 2, tzinfo=UTC)
STANDARD, WIDE = pl.Decimal(18, 8), pl.Decimal(38, 18)
Bar = tuple[str, str, str, str, str]


def frame(series: dict[str, list[Bar]], kind: pl.Decimal = STANDARD) -> pl.DataFrame:
    """Bars of open, high, low, close and volume, a minute apart."""
    rows = [
        (symbol, date(2024, 1, 2), FIRST + timedelta(minutes=number), *map(Decimal, bar))
        for symbol, bars in sorted(series.items())
        for number, bar in enumerate(bars)
    ]
    names = ("open", "high", "low", "close", "volume")
    return pl.DataFrame(
        rows,
        schema={"symbol": pl.String(), "session": pl.Date(), "timestamp": pl.Datetime("us", "UTC")}
        | dict.fromkeys(names, kind),
        orient="row",
    )


def by_definition(rows: pl.DataFrame) -> set[tuple[str, datetime, str]]:
    """Row by row, as the constants' comments say."""
    found = set()
    for (symbol,), series in rows.group_by("symbol", maintain_order=True):
        bars = series.rows(named=True)
        shares = [_share(bar, before) for bar, before in zip(bars, [None, *bars[:-1]], strict=True)]
        run: list[dict[str, Any]] = []
        for bar, share in zip(bars, shares, strict=True):
            if share > OUTLIER_SHARE and share > OUTLIER_MEDIANS * median(shares):
                found.add((symbol, bar["timestamp"], "outlier"))
            if bar["volume"] == 0:
                found.add((symbol, bar["timestamp"], "zero_volume"))
            same = run and all(bar[name] == run[-1][name] for name in ("open", "high", "low", "close", "volume"))
            run = [*run, bar] if same else [bar]
            if len(run) >= STALE_RUN:
                found |= {(symbol, item["timestamp"], "stale") for item in run[1:]}
    return found


def _share(bar: dict[str, Any], before: dict[str, Any] | None) -> float:
    prior = [] if before is None else [float(before["close"])]
    spread = max([float(bar["high"]), *prior]) - min([float(bar["low"]), *prior])
    return spread / max(abs(float(bar["low"])), 1e-12)


def marked(rows: pl.DataFrame) -> set[tuple[str, datetime, str]]:
    found = find_anomalies(rows)
    assert found.columns == ["symbol", "session", "timestamp", "warning"]
    assert found.select("symbol", "timestamp").equals(found.select("symbol", "timestamp").sort("symbol", "timestamp"))
    return set(found.drop("session").iter_rows())


QUIET: Bar = ("100", "100.5", "99.5", "100.25", "3")
STALE_ONE: Bar = ("7", "7", "7", "7", "1")
BARS = [
    QUIET,
    ("100.25", "100.75", "99.75", "100", "4"),
    STALE_ONE,
    ("7", "7", "7", "7", "2"),
    ("100", "120", "100", "120", "1"),
    ("100", "120.00000001", "100", "100", "1"),
    ("100", "101", "0.06", "100", "1"),
    ("0.00000001", "0.00000002", "0", "0", "0"),
    ("-37.63", "1", "-40.32", "0", "1"),
    ("9000000000", "9999999999.99999999", "1", "9000000000", "5"),
]  # fmt: skip


@st.composite
def series(draw: st.DrawFn) -> list[Bar]:
    """Stretches of bars, some of them longer than a stale run."""
    stretches = draw(st.lists(st.tuples(st.sampled_from(BARS), st.integers(1, 12)), max_size=8))
    return [bar for bar, count in stretches for _ in range(count)] + [QUIET] * draw(st.integers(0, 30))


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), series(), max_size=3), st.sampled_from([STANDARD, WIDE]))
def test_what_is_marked_is_what_the_definition_says(bars: dict[str, list[Bar]], kind: pl.Decimal) -> None:
    rows = frame(bars, kind)
    assert marked(rows) == by_definition(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anomalies, "_STRETCH", 5)  # so that most stretches need no second look
        assert marked(rows) == by_definition(rows)


@pytest.mark.parametrize("count", [STALE_RUN - 1, STALE_RUN])
def test_a_run_is_stale_from_its_tenth_bar_on(count: int) -> None:
    rows = frame({"A": [QUIET, *[STALE_ONE] * count, QUIET]})
    stale = [stamp for _, stamp, code in marked(rows) if code == "stale"]
    assert len(stale) == (count - 1 if count >= STALE_RUN else 0)


def test_the_last_bar_of_one_series_says_nothing_about_the_first_of_the_next() -> None:
    dear: Bar = ("9000", "9001", "8999", "9000", "1")
    assert marked(frame({"A": [QUIET] * 9, "B": [dear] * 9, "C": [QUIET] * 9})) == set()
    assert marked(frame({"A": [STALE_ONE] * 6, "B": [STALE_ONE] * 6})) == set()


def test_nothing_is_not_suspicious() -> None:
    assert marked(frame({})) == set()
