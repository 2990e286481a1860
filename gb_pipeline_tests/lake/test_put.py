"""`lake.put`: any frame of a user is stored exactly, or refused with what to do."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import ConfigError, Lake, NaiveTimestamp, SessionStatus, Window, WindowRefused
from gb_pipeline.errors import GbError
from gb_pipeline.lake.put import _numbers

OHLCV = {"open": [1.5, 1.7], "high": [2.0, 2.25], "low": [1.25, 1.5], "close": [1.75, 2.0], "volume": [10, 20]}
DAYS = [date(2024, 1, 2), date(2024, 1, 3)]
STAMPS = [datetime(2024, 1, 2, 9, minute, tzinfo=UTC) for minute in (30, 31)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "data", create=True)


def index_of_days(frame: pd.DataFrame) -> pd.DataFrame:
    frame.index = pd.DatetimeIndex(DAYS)
    return frame


FRAMES = {
    "polars": lambda: pl.DataFrame({"timestamp": DAYS, **OHLCV}),
    "lazy": lambda: pl.LazyFrame({"timestamp": DAYS, **OHLCV}),
    "arrow": lambda: pa.table({"date": DAYS, **OHLCV}),
    "pandas": lambda: index_of_days(pd.DataFrame(OHLCV)),
    "a named index": lambda: index_of_days(pd.DataFrame(OHLCV)).rename_axis("Date"),
    "other case and order": lambda: pl.DataFrame({"Volume": OHLCV["volume"], "Date": DAYS}).with_columns(
        **{name.title(): pl.Series(OHLCV[name]) for name in ("close", "low", "high", "open")}, Dividends=pl.lit(0.0)
    ),
    "text": lambda: pl.DataFrame({"date": DAYS, **OHLCV}).cast(pl.String),
    "decimals": lambda: pl.DataFrame({"date": DAYS, **OHLCV}).cast(dict.fromkeys(OHLCV, pl.Decimal(20, 4))),
    "float32": lambda: pl.DataFrame({"date": DAYS, **OHLCV}).cast(dict.fromkeys(OHLCV, pl.Float32)),
    "nanoseconds": lambda: pl.DataFrame({"time": DAYS, **OHLCV}).cast({"time": pl.Datetime("ns")}),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_every_kind_are_stored(lake, kind):
    report = lake.put(FRAMES[kind](), source="mine", resolution="1d", symbol="AAPL", calendar="XNYS")
    assert (report.received, report.stored, report.quarantined) == (2, 2, 0)
    assert {session.status for session in report.sessions} == {SessionStatus.COMPLETE}
    bars = lake.bars("AAPL", "1d")
    assert bars["timestamp"].dt.date().to_list() == DAYS
    assert {name: bars[name].to_list() for name in OHLCV} == {
        name: [Decimal(str(v)) for v in OHLCV[name]] for name in OHLCV
    }
    again = lake.put(FRAMES[kind](), source="mine", resolution="1d", symbol="AAPL", calendar="XNYS")
    assert (again.unchanged, again.version) == (2, None)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from([32, 64]))
@settings(max_examples=200, deadline=None)
def test_the_text_of_a_float_is_the_shortest_that_reads_back_as_it(values, width):
    kind = pl.Float32 if width == 32 else pl.Float64
    series = pl.Series("close", values, dtype=pl.Float64).cast(kind)
    texts = _numbers(series, None)
    for value, text in zip(series, texts, strict=True):
        if width == 64:
            assert float(text) == value
            assert len(Decimal(text).normalize().as_tuple().digits) <= len(
                Decimal(repr(value)).normalize().as_tuple().digits
            )
        elif text not in {"inf", "-inf"}:
            assert pl.Series([float(text)]).cast(pl.Float32)[0] == value


def test_symbols_of_one_frame_are_each_complete_for_their_own_stretch(lake):
    """A later frame about some days of one symbol takes nothing away from the other."""
    rows = {
        "symbol": ["AAPL", "AAPL", "BTC-USD"],
        "date": [*DAYS, date(2024, 1, 5)],
        **{name: [*v, v[0]] for name, v in OHLCV.items()},
    }
    report = lake.put(pl.DataFrame(rows), source="mine", resolution="1d")
    assert (report.stored, report.received) == (3, 3)
    assert report.window == Window.of("2024-01-02", "2024-01-06")
    assert lake.coverage()["symbol"].to_list() == ["AAPL", "AAPL", "BTC-USD"]
    part = pl.DataFrame(rows)[1:]
    assert lake.put(part, source="mine", resolution="1d").withdrawn == 0
    complete = lake.put(part, source="mine", resolution="1d", window=(date(2024, 1, 2), date(2024, 1, 6)))
    assert complete.withdrawn == 1


def test_numbers_without_an_end_go_to_quarantine_unless_they_are_rounded_on_purpose(lake):
    frame = pl.DataFrame({"timestamp": DAYS, **OHLCV}).with_columns(close=pl.Series([1.75, 0.1 + 1.9 + 1e-12]))
    report = lake.put(frame, source="mine", resolution="1d", symbol="A", max_bad_fraction=1.0)
    assert (report.stored, report.quarantined) == (1, 1)
    assert lake.quarantine()["reasons"].to_list() == [["too_precise"]]
    rounded = lake.put(frame, source="mine", resolution="1d", symbol="A", decimals=4)
    assert (rounded.unchanged, rounded.stored, rounded.quarantined) == (1, 1, 0)
    wide = lake.put(frame, source="exact", resolution="1d", symbol="A", precision="wide")
    assert (wide.stored, wide.quarantined) == (2, 0)


def test_what_a_float_cannot_say_is_quarantined(lake):
    frame = pl.DataFrame({"timestamp": STAMPS, **OHLCV}).with_columns(volume=pl.Series([float("nan"), float("inf")]))
    report = lake.put(frame, source="mine", resolution="1m", symbol="A")
    assert (report.received, report.quarantined) == (2, 2)


@pytest.mark.parametrize(
    ("frame", "options", "error", "says"),
    [
        (pl.DataFrame({"timestamp": STAMPS, "close": [1, 2]}), {}, WindowRefused, "open, high, low, volume"),
        (pl.DataFrame(OHLCV), {}, WindowRefused, "timestamp"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV, "Close": [1, 2]}), {}, WindowRefused, "are the same"),
        (pl.DataFrame({"timestamp": [1, 2], **OHLCV}), {}, WindowRefused, "not times"),
        (pl.DataFrame({"timestamp": ["x", "y"], **OHLCV}), {}, WindowRefused, "text"),
        (pl.DataFrame({"timestamp": DAYS, **OHLCV}), {}, WindowRefused, "not times"),
        (pl.DataFrame({"timestamp": [s.replace(tzinfo=None) for s in STAMPS], **OHLCV}), {}, NaiveTimestamp, "zone"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV}), {"symbol": None}, ConfigError, "which symbol"),
        (pl.DataFrame({"timestamp": STAMPS, "symbol": ["A", "B"], **OHLCV}), {}, ConfigError, "not all of them A"),
        (pl.DataFrame({"timestamp": STAMPS, "symbol": ["A", None], **OHLCV}), {"symbol": None}, WindowRefused, "no symbol"),
        (pl.DataFrame({"timestamp": STAMPS, "symbol": ["A", None], **OHLCV}), {}, WindowRefused, "1 of 2 rows.* row 1"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV}).head(0), {}, WindowRefused, "no row"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV}), {"calender": "XNYS"}, ConfigError, "no rule 'calender'"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV}), {"precision": "huge"}, ConfigError, "precision"),
        (pl.DataFrame({"timestamp": STAMPS, **OHLCV})["open"], {}, WindowRefused, "cannot be read as a frame"),
        (pd.DataFrame(OHLCV, index=STAMPS)["open"], {}, WindowRefused, "cannot be read as a frame"),
        ({"open": [1]}, {}, WindowRefused, "cannot be read as a frame"),
        (None, {}, WindowRefused, "cannot be read as a frame"),
    ],
)  # fmt: skip
def test_a_frame_that_is_none_is_refused_and_nothing_is_stored(lake, frame, options, error, says):
    with pytest.raises(error, match=says) as caught:
        lake.put(frame, **{"source": "mine", "resolution": "1m", "symbol": "A", **options})
    assert caught.value.fix
    assert lake.symbols().is_empty()


ODD = [
    pl.Series([["1"]]), pl.Series([{"a": 1}]), pl.Series([b"1"]), pl.Series([b"\xff"]), pl.Series(["1"], dtype=pl.Categorical),
    pl.Series([True]), pl.Series([None]), pl.Series([date(2024, 1, 2)]), pl.Series([timedelta(1)]), pl.Series([time(1)]),
    pl.Series([2**64 - 1], dtype=pl.UInt64), pl.Series([2**100], dtype=pl.Int128), pl.Series([[1]], dtype=pl.Array(pl.Int8, 1)),
    pl.Series([Decimal("0.1")], dtype=pl.Decimal(38, 30)), pl.Series([object()]), pl.Series([1.0], dtype=pl.Float32),
]  # fmt: skip


@pytest.mark.parametrize("name", ["timestamp", "close", "trade_count", "symbol", "note"])
def test_a_column_of_any_type_is_taken_or_refused_in_words(lake, name):
    prices = {each: ["1"] for each in ("open", "high", "low", "close", "volume")}
    bar = pl.DataFrame({"timestamp": [datetime(2024, 1, 2, tzinfo=UTC)], **prices})
    for column in ODD:
        for more in ({}, {"symbol": "X"}):
            with suppress(GbError):
                lake.put(bar.with_columns(column.alias(name)), source="mine", resolution="1m", **more)


@pytest.mark.parametrize(
    "count",
    [
        pl.Series([1e30]), pl.Series([float("inf")]), pl.Series([2**64 - 1], dtype=pl.UInt64), pl.Series([2**100], dtype=pl.Int128),
    ],
)  # fmt: skip
def test_a_count_that_does_not_fit_is_quarantined_never_nulled(lake, count):
    prices = {each: ["1"] for each in ("open", "high", "low", "close", "volume")}
    bar = pl.DataFrame({"timestamp": [datetime(2024, 1, 2, tzinfo=UTC)], **prices})
    report = lake.put(bar.with_columns(trade_count=count), source="mine", resolution="1m", symbol="X")
    assert (report.received, report.stored, report.quarantined) == (1, 0, 1)


def test_several_levels_of_columns_are_refused(lake):
    frame = pd.DataFrame({("Close", "AAPL"): [1.0]}, index=pd.DatetimeIndex(DAYS[:1]))
    with pytest.raises(WindowRefused, match="several levels"):
        lake.put(frame, source="mine", resolution="1d", symbol="AAPL")
