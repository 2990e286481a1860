"""Windows of bars to learn from."""

from __future__ import annotations

import pickle
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import ConfigError, Lake, NoDataInRange, WindowBatches
from gb_pipeline_tests.bars import at, changed, day, minutes

BOTH = ["BTC-USD", "ETH-USD"]
FIRST = at("2024-01-02")


def store(lake: Lake, code: str, count: int = 30, *, without: tuple[int, ...] = (), base: int = 100) -> None:
    bars = minutes("2024-01-02", count, symbol=code, base=base)
    lake.write_bars("sim", code, "1m", day("2024-01-02"), bars.filter(~pl.int_range(pl.len()).is_in(list(without))))


def everything(batches: WindowBatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = list(batches)
    return tuple(
        np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "targets", "timestamps")
    )


def places(batches: WindowBatches) -> list[int]:
    """The minutes of the last bars of all windows."""
    return ((everything(batches)[2] - np.datetime64("2024-01-02", "us")) // np.timedelta64(60, "s")).tolist()


@pytest.fixture
def both(lake: Lake) -> Lake:
    store(lake, "BTC-USD")
    store(lake, "ETH-USD", base=50)
    return lake


def test_shapes_types_and_numbers(both: Lake) -> None:
    batches = WindowBatches(
        both, BOTH, "1m", calendar="24/7", window=5, horizon=2, fields=("open", "close"), batch_size=10, dtype="float64"
    )
    inputs, targets, stamps = everything(batches)
    assert [part.inputs.shape for part in batches] == [(10, 5, 2, 2), (10, 5, 2, 2), (4, 5, 2, 2)]
    assert (len(batches), inputs.shape, targets.shape, stamps.dtype) == (3, (24, 5, 2, 2), (24, 2), "datetime64[us]")
    closes = both.wide("close", BOTH, "1m").drop("timestamp").to_numpy()
    np.testing.assert_array_equal(inputs[3, :, :, 1], closes[3:8])
    np.testing.assert_array_equal(targets[3], closes[9] / closes[7] - 1)
    assert WindowBatches(both, BOTH, "1m", calendar="24/7", window=5).__iter__().__next__().inputs.dtype == np.float32


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    window=st.integers(1, 6),
    horizon=st.integers(1, 4),
    without=st.sets(st.integers(1, 28), max_size=4),
    edges=st.tuples(st.integers(0, 12), st.integers(15, 30)),
)
def test_windows_are_those_without_a_gap_and_none_reaches_out_of_its_range(
    tmp_path_factory: pytest.TempPathFactory, window: int, horizon: int, without: set[int], edges: tuple[int, int]
) -> None:
    lake = Lake.open(tmp_path_factory.mktemp("lake") / "data", create=True)
    store(lake, "BTC-USD", without=tuple(without))
    store(lake, "ETH-USD")
    first, end = edges
    whole = [
        last
        for last in range(first + window - 1, end - horizon)
        if not without & set(range(last - window + 1, last + horizon + 1))
    ]
    arguments = (lake, BOTH, "1m", FIRST + timedelta(minutes=first), FIRST + timedelta(minutes=end))
    if whole:
        assert places(WindowBatches(*arguments, window=window, horizon=horizon, calendar="24/7")) == whole
    else:
        with pytest.raises(NoDataInRange):
            WindowBatches(*arguments, window=window, horizon=horizon, calendar="24/7")


def test_what_comes_after_a_window_changes_its_target_only(lake: Lake) -> None:
    bars = minutes("2024-01-02", 30)
    lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), bars)
    moment = lake.bars("BTC-USD", "1m")["known_at"].max()
    later = changed(bars, 20, close="200.5", high="300")
    lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), later)
    before = everything(WindowBatches(lake, "BTC-USD", "1m", window=4, as_of=moment, calendar="24/7"))
    now = everything(WindowBatches(lake, "BTC-USD", "1m", window=4, calendar="24/7"))
    # Windows that end before the bar, and the one whose target it is.
    np.testing.assert_array_equal(now[0][:17], before[0][:17])
    np.testing.assert_array_equal(now[1][:16], before[1][:16])
    assert (now[1][16] != before[1][16]).all()
    assert (now[0][17] != before[0][17]).any()


def test_a_gap_is_filled_from_before_where_that_is_asked_for(lake: Lake) -> None:
    store(lake, "BTC-USD", without=(10, 11))
    batches = WindowBatches(lake, "BTC-USD", "1m", window=3, calendar="24/7", on_gap="ffill", dtype="float64")
    assert places(batches) == list(range(2, 29))
    window = everything(batches)[0][places(batches).index(11)][:, 0]
    close = lake.bars("BTC-USD", "1m", as_float=True)["close"][9]
    assert window[1].tolist() == window[2].tolist() == [close] * 4 + [0.0]


def test_the_order_depends_on_the_seed_and_the_epoch_only(both: Lake) -> None:
    def order(seed: int | None, epoch: int = 0) -> list[int]:
        batches = WindowBatches(both, BOTH, "1m", calendar="24/7", window=5, seed=seed, batch_size=4)
        batches.set_epoch(epoch)
        assert places(batches) == places(batches)
        return places(batches)

    assert order(None) == sorted(order(7)) == sorted(order(7, 1))
    assert order(7) == order(7) != order(None)
    assert order(7, 1) == order(7, 1) != order(7)
    assert order(8) != order(7)


@pytest.mark.parametrize("seed", [None, 7])
def test_batches_by_number_are_those_of_a_pass_also_in_a_copy_of_a_worker(both: Lake, seed: int | None) -> None:
    batches = WindowBatches(both, BOTH, "1m", calendar="24/7", window=5, seed=seed, batch_size=10)
    for epoch in range(2):
        batches.set_epoch(epoch)
        worker = pickle.loads(pickle.dumps(batches))
        passed = list(batches)
        for number in reversed(range(len(batches))):
            for one in (batches[number], worker[number], batches[number - len(batches)]):
                for field in ("inputs", "targets", "timestamps"):
                    np.testing.assert_array_equal(getattr(one, field), getattr(passed[number], field))
        assert len(passed) == len(batches) == 3


@pytest.mark.parametrize("number", [3, -4])
def test_a_batch_that_is_not_there_is_an_error_of_a_sequence(both: Lake, number: int) -> None:
    batches = WindowBatches(both, BOTH, "1m", calendar="24/7", window=5, batch_size=10)
    with pytest.raises(IndexError, match=rf"no batch {number}: a pass has 3"):
        batches[number]


def test_numbers_of_a_pin_stay_and_say_where_they_are_from(both: Lake) -> None:
    pin = both.pin("learnt", [f"sim:{code}" for code in BOTH], "1m")
    before = everything(WindowBatches(both.replay("learnt"), BOTH, "1m", calendar="24/7", window=5))
    store(both, "BTC-USD", base=500)
    again = WindowBatches(both.replay("learnt"), BOTH, "1m", calendar="24/7", window=5)
    for one, other in zip(everything(again), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (again.provenance["pin"], again.provenance["fingerprint"]) == ("learnt", pin.fingerprint)
    now = WindowBatches(both, BOTH, "1m", calendar="24/7", window=5)
    assert now.provenance["fingerprint"] == both.fingerprint(None, BOTH, "1m").whole != pin.fingerprint
    assert not (everything(now)[0] == before[0]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"horizon": 0}, {"batch_size": 0}, {"fields": ("vwap",)}, {"fields": ()}, {"target": "volume"},
     {"dtype": "int8"}, {"on_gap": "bfill"}],
)  # fmt: skip
def test_what_cannot_be_learnt_is_refused(both: Lake, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        WindowBatches(both, BOTH, "1m", **{"window": 5, "calendar": "24/7", **wrong})
