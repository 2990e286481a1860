"""The simulated market: deterministic, realistic, exact."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.simulation.instruments import DEFAULT_SYMBOLS, make_instrument
from gb_pipeline.simulation.market import Minutes, Path

JANUARY_2024 = 28_401_120
COLUMNS = ("open", "high", "low", "close", "volume", "trades")


def same(left: Minutes, right: Minutes) -> bool:
    return all((getattr(left, name) == getattr(right, name)).all() for name in ("minute", *COLUMNS))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    code=st.sampled_from(["BTC-USDT", "DOGE-USD", "ODD42-EUR", "SHIB-USDT"]),
    offset=st.integers(0, 3000),
    length=st.integers(1, 50),
)
def test_any_minute_can_be_had_without_its_history(seed: int, code: str, offset: int, length: int) -> None:
    whole = Path(seed, make_instrument(code)).minutes(JANUARY_2024, 3100)
    part = Path(seed, make_instrument(code)).minutes(JANUARY_2024 + offset, length)
    cut = Minutes(*(getattr(whole, name)[offset : offset + length] for name in Minutes.__slots__))
    assert same(part, cut)


def test_seed_and_symbol_decide_everything() -> None:
    bars = [
        Path(seed, make_instrument(code)).minutes(JANUARY_2024, 60)
        for seed, code in ((7, "BTC-USD"), (8, "BTC-USD"), (7, "BTC-USDT"))
    ]
    assert not same(bars[0], bars[1])
    assert not same(bars[0], bars[2])


@pytest.mark.parametrize("code", [*DEFAULT_SYMBOLS[:12], "SHIB-USDT", "ZZZ-USD"])
def test_bars_are_sound_and_move_like_a_market(code: str) -> None:
    bars = Path(7, make_instrument(code)).minutes(JANUARY_2024, 30 * 1440)
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert bars.low.min() > 0
    assert (bars.volume >= bars.trades).all()
    assert (bars.trades >= 4).all()
    returns = np.diff(np.log(bars.close))
    assert 0.0003 < returns.std() < 0.0015
    # Mostly, but not always, a minute opens where the last one closed.
    assert 0.5 < (bars.open[1:] == bars.close[:-1]).mean() < 0.99
    # Steps of an hour are about sqrt(60) times those of a minute.
    assert 3 < np.diff(np.log(bars.close[::60])).std() / returns.std() < 16


@settings(max_examples=40, deadline=None)
@given(minute=st.integers(20_000_000, 40_000_000), code=st.sampled_from(["BTC-USDT", "XRP-USD", "DOT-USD", "A-B"]))
def test_the_trades_of_a_minute_make_its_bar(minute: int, code: str) -> None:
    path = Path(3, make_instrument(code))
    bar, trades = path.minutes(minute, 1), path.trades(minute)
    assert trades.price[0] == bar.open[0]
    assert trades.price[-1] == bar.close[0]
    assert (trades.price.max(), trades.price.min()) == (bar.high[0], bar.low[0])
    assert trades.size.sum() == bar.volume[0]
    assert trades.size.min() > 0
    assert len(trades.id) == bar.trades[0]
    assert (np.diff(trades.time) >= 0).all()
    assert (trades.time // 60_000 == minute).all()
    assert (np.diff(trades.id) > 0).all()


@pytest.mark.parametrize("code", ["BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "DOGE-USDT", "LTC-USDT"])
def test_a_row_takes_at_most_22_bytes_as_exact_decimals(code: str) -> None:
    item = make_instrument(code)
    bars = Path(7, item).minutes(JANUARY_2024, 90 * 1440)
    scale = dict.fromkeys(("open", "high", "low", "close"), 10 ** (8 - item.price_digits))
    scale["volume"] = 10 ** (8 - item.volume_digits)
    table = pa.table({name: getattr(bars, name) * factor for name, factor in scale.items()})
    file = io.BytesIO()
    pq.write_table(
        table, file, use_dictionary=False, column_encoding=dict.fromkeys(scale, "DELTA_BINARY_PACKED"),
        compression="zstd", compression_level=3, row_group_size=65_536,
    )  # fmt: skip
    assert len(file.getvalue()) / table.num_rows <= 22
    assert pl.from_arrow(table).n_unique() > 0.99 * table.num_rows  # type: ignore[union-attr]
