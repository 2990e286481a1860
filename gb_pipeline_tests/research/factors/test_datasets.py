"""A dataset hands out what its loader read, checked: types, zones and keys."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from gb_pipeline import ConfigError, Lake, WindowRefused
from gb_pipeline.research.factors.datasets import Dataset, LoadRequest
from gb_pipeline.research.factors.terms import Classifier, Factor, Filter
from gb_pipeline_tests.bars import at


class Rows:
    """A loader of a frame."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows

    def load(self, request: LoadRequest) -> pl.DataFrame:
        return self.rows


def rows(**more: Any) -> pl.DataFrame:
    columns = {
        "symbol": ["B", "A"],
        "session": [date(2024, 3, 31), date(2024, 3, 31)],
        "known_at": [at("2024-05-01"), at("2024-04-20")],
        "eps": ["1.5", None],
    }
    return pl.DataFrame(columns | more)


def load(frame: pl.DataFrame, lake: Lake, **more: Any) -> pl.DataFrame:
    dataset = Dataset("earnings", {"eps": pl.Float64()}, Rows(frame))
    return dataset.load(LoadRequest(("eps",), ("A", "B"), date(2024, 1, 1), date(2024, 7, 1), lake, **more))


def test_a_column_is_a_term_of_its_type() -> None:
    kinds = {"eps": pl.Float64(), "paid": pl.Boolean(), "sector": pl.String()}
    dataset = Dataset("earnings", kinds, Rows(rows()))
    assert [type(dataset[name]) for name in kinds] == [Factor, Filter, Classifier]
    assert dataset["eps"].node == dataset["eps"].node
    assert dataset["eps"].node != dataset["sector"].node
    with pytest.raises(ConfigError, match="did you mean eps"):
        dataset["epz"]


def test_rows_are_cast_and_sorted_and_no_other_symbols_stay(lake: Lake) -> None:
    found = load(rows(symbol=["Z", "A"]), lake)
    assert found.schema == {
        "symbol": pl.String,
        "session": pl.Date,
        "known_at": pl.Datetime("us", "UTC"),
        "eps": pl.Float64,
    }
    assert found["symbol"].to_list() == ["A"]
    assert load(rows(), lake)["eps"].to_list() == [None, 1.5]


def test_what_became_known_later_is_left_out(lake: Lake) -> None:
    assert load(rows(), lake, as_of=at("2024-04-25"))["symbol"].to_list() == ["A"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": ["much", "1"]}, "cannot be cast"),
        ({"symbol": ["A", None]}, "no symbol"),
        ({"known_at": [at("2024-05-01").replace(tzinfo=None)] * 2}, "no time zone"),
        ({"known_at": [at("2024-05-01") + timedelta(1), None]}, "no symbol, session or known_at"),
    ],
)
def test_rows_that_mean_nothing_are_refused(lake: Lake, change: dict[str, Any], message: str) -> None:
    with pytest.raises(WindowRefused, match=message):
        load(rows(**change), lake)


def test_a_loader_that_lacks_a_column_is_named(lake: Lake) -> None:
    with pytest.raises(WindowRefused, match="loader of earnings returned no column eps"):
        load(rows().drop("eps"), lake)
