"""Count, first, last and the last bar of each series are what reading all of its bars would say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import BarRules, ConfigError, Lake, NoDataInRange, Precision, Resolution, UnknownSeries, Window
from gb_pipeline.market.schema import PRICES

START = datetime(2024, 1, 30, tzinfo=UTC)
DAYS = 6  # across the end of a month, where a file ends


def frame(stamps: list[datetime], price: str, symbol: str) -> pl.DataFrame:
    texts = {name: [price] * len(stamps) for name in (*PRICES, "volume")}
    columns = {"symbol": [symbol] * len(stamps), "timestamp": stamps, **texts}
    return pl.DataFrame(columns, schema_overrides={"timestamp": pl.Datetime("us", "UTC")})


@st.composite
def writes(draw: st.DrawFn) -> list[tuple[str, Window, pl.DataFrame, BarRules]]:
    """What two sources say of some days, one answer after another; later ones restate, withdraw and add bars, the second
    source with wide precision from some answer on."""
    made = []
    number = draw(st.integers(1, 5))
    wide_from = draw(st.integers(0, number))
    for answer in range(number):
        source, symbol = draw(st.sampled_from(["one", "two"])), draw(st.sampled_from(["A-USD", "B-USD"]))
        resolution = draw(st.sampled_from([Resolution.HOUR, Resolution.DAY]))
        first = draw(st.integers(0, DAYS - 1))
        window = Window(START + timedelta(days=first), START + timedelta(days=draw(st.integers(first + 1, DAYS))))
        step = timedelta(hours=1) if resolution is Resolution.HOUR else timedelta(days=1)
        count = (window.end - window.start) // step
        places = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=8)))
        rows = frame([window.start + step * place for place in places], f"{answer + 1}.5", symbol)
        precision = Precision.WIDE if source == "two" and answer >= wide_from else Precision.STANDARD
        made.append((source, window, rows, BarRules(resolution=resolution, gap_policy="no_trade", precision=precision)))
    return made


@settings(max_examples=20, deadline=None)
@given(everything=writes(), edges=st.tuples(st.integers(-10, 150), st.integers(1, 150)), chosen=st.integers(0, 9))
def test_edges_are_those_of_all_bars(everything, edges, chosen):
    with TemporaryDirectory() as folder:
        lake = Lake.open(folder, create=True)
        moments: list[datetime | None] = [None]
        for source, window, rows, rules in everything:
            lake.write_bars(source, rows["symbol"][0], rules.resolution, window, rows, rules=rules)
            moments.append(lake.bars(None, rules.resolution, source=source)["known_at"].max())
        start = START + timedelta(hours=edges[0])
        window = (start, start + timedelta(hours=edges[1]))
        as_of = moments[chosen % len(moments)]
        for resolution in ("1h", "1d"):
            for ends in (window, (None, None)):
                same(lake, resolution, ends, as_of)


def same(lake, resolution, ends, as_of) -> None:
    series = []
    for source in ("one", "two"):
        try:
            bars = lake.bars(None, resolution, *ends, source=source, as_of=as_of)
        except (NoDataInRange, UnknownSeries):
            continue
        series.append(bars.with_columns(pl.col(pl.Decimal).cast(pl.Decimal(38, 18))))
    if not series:
        with pytest.raises((NoDataInRange, UnknownSeries)):
            lake.extent(None, resolution, *ends, as_of=as_of)
        return
    bars = pl.concat(series).sort("symbol", "source", "timestamp")
    counted = bars.group_by("source", "symbol", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("bars"),
        pl.col("timestamp").min().alias("first"),
        pl.col("timestamp").max().alias("last"),
    )
    assert lake.extent(None, resolution, *ends, as_of=as_of).equals(counted)
    if ends == (None, None):
        last = bars.group_by("source", "symbol", maintain_order=True).last().select(bars.columns)
        answer = lake.latest(None, resolution, as_of=as_of)
        assert answer.with_columns(pl.col(pl.Decimal).cast(pl.Decimal(38, 18))).equals(last)
        floats = lake.latest(None, resolution, as_of=as_of, as_float=True)
        assert floats["close"].to_list() == [float(value) for value in answer["close"]]


def test_what_the_log_says_needs_no_file(lake, received):
    """Files are gone, and count, first and last are still known; the last bar is not."""
    lake.write_bars(
        "sim", "BTC-USD", "1m", Window.of("2024-01-02", "2024-01-03"), received("2024-01-02", ["1", "2", "3"])
    )
    for path in lake.store.storage.root.rglob("*.parquet"):
        if "bars_1m" in path.parts and "_delta_log" not in path.parts:
            path.unlink()
    assert lake.extent("BTC-USD", "1m")["bars"].to_list() == [3]
    with pytest.raises(Exception, match="is missing"):
        lake.latest("BTC-USD", "1m")


def test_only_the_newest_file_is_opened_for_the_last_bar(lake, received, monkeypatch):
    from gb_pipeline.storage.files import LocalFiles

    for month in ("2024-01", "2024-02", "2024-03"):
        window = Window.of(f"{month}-02", f"{month}-03")
        lake.write_bars("sim", "BTC-USD", "1m", window, received(f"{month}-02", ["1", "2", "3"]))
    opened = set()
    whole = LocalFiles.read_into
    monkeypatch.setattr(
        LocalFiles, "read_into", lambda files, name, *given: opened.add(name) or whole(files, name, *given)
    )
    assert str(lake.latest("BTC-USD", "1m")["timestamp"][0].date()) == "2024-03-02"
    assert ["period=2024-03" in name for name in opened] == [True]


def test_unknown_names_and_columns_are_refused_as_by_bars(lake, received):
    lake.write_bars("sim", "BTC-USD", "1m", Window.of("2024-01-02", "2024-01-03"), received("2024-01-02", ["1"]))
    for ask in (lake.extent, lake.latest):
        with pytest.raises(UnknownSeries) as error:
            ask("BTCUSD", "1m")
        assert error.value.near == ("BTC-USD",)
    with pytest.raises(NoDataInRange):
        lake.extent("BTC-USD", "1m", "2025-01-01", "2025-01-02")
    with pytest.raises(ConfigError):
        lake.latest("BTC-USD", "1m", columns=["price"])
