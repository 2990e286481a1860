"""Every rule of a bar refuses the rows that break it, with its own code, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import WindowRefused
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult, validate
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline_tests.bars import at, changed, day, minutes
from gb_pipeline_tests.work import counted_work

LENIENT = BarRules(max_bad_fraction=1.0)
WINDOW = day("2024-01-02")


def codes(result: ValidationResult) -> list[list[str]]:
    return result.bad["reasons"].to_list()


def test_a_clean_day_is_good_from_the_first_row_to_the_last() -> None:
    frame = minutes("2024-01-02")
    result = validate(frame, BarRules(), WINDOW)
    assert (result.good.height, result.bad.height, result.refused) == (1440, 0, frozenset())
    assert result.good["open"].cast(pl.String).str.to_decimal(scale=8).to_list() == [
        Decimal(text) for text in frame["open"]
    ]
    assert result.good["session"].unique().to_list() == [WINDOW.start.date()]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"high": "99"}, "high_not_highest"),
        ({"low": "5000"}, "low_not_lowest"),
        ({"open": "0", "low": "0"}, "price_not_positive"),
        ({"low": "-1"}, "price_not_positive"),
        ({"volume": "-0.00001"}, "negative_volume"),
        ({"close": None}, "missing_value"),
        ({"volume": ""}, "missing_value"),
        ({"open": "-"}, "unreadable_number"),
        ({"high": "100000000000"}, "too_large"),
        ({"close": "100.123456789"}, "too_precise"),
    ],
)
def test_a_bad_cell_refuses_its_row_with_its_code(values: dict[str, str | None], code: str) -> None:
    result = validate(changed(minutes("2024-01-02"), 7, **values), LENIENT, WINDOW)
    assert result.bad["timestamp"].to_list() == [at("2024-01-02T00:07")]
    assert code in codes(result)[0]
    assert result.good.height == 1439


def test_every_breach_of_a_row_is_named() -> None:
    result = validate(changed(minutes("2024-01-02"), 7, volume="-1", high="1"), LENIENT, WINDOW)
    assert codes(result) == [["high_not_highest", "low_not_lowest", "negative_volume"]]


def test_zero_and_negative_prices_are_good_where_the_source_has_them() -> None:
    frame = changed(minutes("2024-01-02"), 3, open="-37.63", high="1", low="-40.32", close="0")
    result = validate(frame, replace(LENIENT, allow_negative_prices=True), WINDOW)
    assert result.bad.is_empty()
    assert result.good["low"].min() == Decimal("-40.32")


def test_stamps_off_the_grid_outside_the_window_or_unreadable_are_refused() -> None:
    frame = minutes("2024-01-02", 4).with_columns(
        pl.Series("timestamp", [at("2024-01-02T00:00:30"), at("2024-01-03T00:00"), None, at("2024-01-02T00:03")]).cast(
            pl.Datetime("us", "UTC")
        )
    )
    result = validate(frame, LENIENT, WINDOW)
    assert sorted(codes(result)) == [["misaligned"], ["outside_window"], ["unreadable_timestamp"]]
    assert validate(frame.head(1), replace(LENIENT, allow_unaligned=True), WINDOW).bad.is_empty()


def test_rows_of_no_session_are_counted() -> None:
    rules = BarRules(calendar=get_calendar("XNYS"), max_bad_fraction=1.0)
    stamps = pl.Series("timestamp", [at("2024-01-02T14:30"), at("2024-01-06T15:00"), None, at("2024-01-02T12:00")])
    frame = minutes("2024-01-02", 4).with_columns(stamps.cast(pl.Datetime("us", "UTC")))
    result = validate(frame, rules, day("2024-01-02", 5))
    assert sorted(codes(result)) == [["outside_hours"], ["outside_session"], ["unreadable_timestamp"]]
    assert result.unplaced["BTC-USD"].rows == 2
    assert validate(minutes("2024-01-02"), BarRules(), WINDOW).unplaced == {}


def test_of_identical_repeats_the_first_stays() -> None:
    frame = minutes("2024-01-02", 10)
    result = validate(pl.concat([frame, frame[3:4], frame[3:4]]), LENIENT, WINDOW)
    assert (codes(result), result.good.height) == ([], 10)
    assert result.duplicates["timestamp"].to_list() == [at("2024-01-02T00:03")] * 2


def test_repeats_say_nothing_about_the_rest_and_contradictions_do() -> None:
    frame = minutes("2024-01-02", 10)
    assert validate(pl.concat([frame, frame]), BarRules(), WINDOW).good.height == 10
    contradicted = pl.concat([frame, changed(frame, 3, volume="9")[3:4]])
    assert validate(contradicted, BarRules(), WINDOW).good.is_empty()


def test_of_rows_that_contradict_each_other_none_is_believed() -> None:
    frame = minutes("2024-01-02", 10)
    result = validate(pl.concat([frame, changed(frame, 3, volume="9")[3:4]]), LENIENT, WINDOW)
    assert codes(result) == [["conflicting_duplicate"], ["conflicting_duplicate"]]
    assert result.good.height == 9


def test_the_order_of_rows_means_nothing() -> None:
    frame = minutes("2024-01-02", 100)
    assert validate(frame.reverse(), BarRules(), WINDOW).good.equals(validate(frame, BarRules(), WINDOW).good)


def test_an_open_bar_and_a_future_bar_are_refused_and_the_open_one_blames_nobody() -> None:
    now = at("2024-01-02T00:09:30")
    result = validate(minutes("2024-01-02", 12), BarRules(max_bad_fraction=0.2), WINDOW, now=now)
    assert codes(result) == [["bar_still_open"], ["in_future"], ["in_future"]]
    open_only = validate(minutes("2024-01-02", 10), BarRules(max_bad_fraction=0.0), WINDOW, now=now)
    assert (codes(open_only), open_only.refused) == ([["bar_still_open"]], frozenset())


def test_a_bar_is_closed_only_after_the_grace() -> None:
    frame = minutes("2024-01-02", 1)
    rules = BarRules(grace=timedelta(seconds=5))
    assert validate(frame, rules, WINDOW, now=at("2024-01-02T00:01:04")).good.is_empty()
    assert validate(frame, rules, WINDOW, now=at("2024-01-02T00:01:05")).bad.is_empty()


def test_too_many_bad_rows_refuse_their_session_and_only_theirs() -> None:
    two_days = pl.concat([minutes("2024-01-02"), minutes("2024-01-03")])
    for row in range(20):
        two_days = changed(two_days, row, high="1")
    result = validate(two_days, BarRules(max_bad_fraction=0.01), day("2024-01-02", 2))
    assert result.refused == {("BTC-USD", at("2024-01-02T00:00").date())}
    assert result.good["session"].unique().to_list() == [at("2024-01-03T00:00").date()]
    assert result.bad.height == 1440
    assert result.bad.filter(pl.col("reasons").list.contains("refused_with_session")).height == 1420


def test_a_refused_row_is_kept_as_it_was_received() -> None:
    frame = changed(minutes("2024-01-02", 3), 1, high="1.000")
    row = validate(frame, LENIENT, WINDOW).bad["row"][0]
    assert '"high":"1.000"' in row
    with_line = frame.with_columns(pl.Series("received", ["a", "2024-01-02 00:01,1,1.000", "c"]))
    assert validate(with_line, LENIENT, WINDOW).bad["row"].to_list() == ["2024-01-02 00:01,1,1.000"]


def test_a_crossed_quote_is_refused() -> None:
    frame = minutes("2024-01-02", 3).with_columns(pl.Series("ask_close", ["100.75", "101.74", "102.76"]))
    result = validate(frame, LENIENT, WINDOW)
    assert codes(result) == [["crossed_quote"]]
    assert result.bad["timestamp"].to_list() == [at("2024-01-02T00:01")]


def test_rows_outside_sessions_and_outside_hours_are_told_apart() -> None:
    rules = BarRules(calendar=get_calendar("XNYS"), max_bad_fraction=1.0)
    stamps = ["2024-01-02T14:29", "2024-01-02T14:30", "2024-01-02T20:59", "2024-01-02T21:00", "2024-01-06T15:00"]
    frame = minutes("2024-01-02", 5).with_columns(
        pl.Series("timestamp", [at(text) for text in stamps]).cast(pl.Datetime("us", "UTC"))
    )
    result = validate(frame, rules, day("2024-01-02", 5))
    assert codes(result) == [["outside_hours"], ["outside_hours"], ["outside_session"]]
    assert result.good.height == 2


def test_early_closes_and_clock_changes_move_the_hours() -> None:
    rules = BarRules(calendar=get_calendar("XNYS"), max_bad_fraction=1.0)
    half_day = minutes("2023-07-03T16:59", 2)
    assert codes(validate(half_day, rules, day("2023-07-03"))) == [["outside_hours"]]
    summer = minutes("2024-03-11T13:30", 1)
    assert validate(summer, rules, day("2024-03-11")).bad.is_empty()
    assert codes(validate(minutes("2024-03-08T13:30", 1), rules, day("2024-03-08"))) == [["outside_hours"]]


def test_daily_bars_are_stamped_with_their_session_and_closed_after_it() -> None:
    rules = BarRules(resolution=Resolution.DAY, calendar=get_calendar("XNYS"), max_bad_fraction=1.0)
    frame = minutes("2024-01-02", 3, step=86_400)
    window = day("2024-01-02", 5)
    assert validate(frame, rules, window).good.height == 3
    still_trading = validate(frame, rules, window, now=at("2024-01-04T20:00"))
    assert codes(still_trading) == [["bar_still_open"]]
    at_the_open = frame.with_columns(pl.col("timestamp") + pl.duration(hours=14, minutes=30))
    assert codes(validate(at_the_open, rules, window)) == [["misaligned"]] * 3


def test_outliers_zero_volume_and_stale_runs_are_warnings_not_errors() -> None:
    frame = changed(minutes("2024-01-02", 200, base=1000), 50, low="0.06")
    frame = changed(frame, 60, volume="0")
    repeated = pl.int_range(pl.len()).is_between(100, 114)
    frame = frame.with_columns(
        pl.when(repeated).then(pl.col(name).get(100)).otherwise(name).alias(name)
        for name in ("open", "high", "low", "close", "volume")
    )
    result = validate(frame, BarRules(), WINDOW)
    assert result.bad.is_empty()
    found = dict(result.warnings.group_by("warning").len().iter_rows())
    assert found == {"outlier": 1, "zero_volume": 1, "stale": 14}
    assert result.warnings.filter(pl.col("warning") == "outlier")["timestamp"][0] == at("2024-01-02T00:50")


def test_wrong_columns_refuse_the_frame() -> None:
    frame = minutes("2024-01-02", 3)
    with pytest.raises(WindowRefused, match="lacks close"):
        validate(frame.drop("close"), BarRules(), WINDOW)
    with pytest.raises(WindowRefused, match="unknown columns adjusted"):
        validate(frame.with_columns(adjusted=pl.lit("1")), BarRules(), WINDOW)
    with pytest.raises(WindowRefused, match="microseconds in UTC"):
        validate(frame.with_columns(pl.col("timestamp").dt.replace_time_zone(None)), BarRules(), WINDOW)
    with pytest.raises(WindowRefused, match="cannot be exact"):
        validate(frame.with_columns(pl.col("open").cast(pl.Float64)), BarRules(), WINDOW)


def test_an_empty_answer_has_an_empty_result() -> None:
    result = validate(minutes("2024-01-02", 1).clear(), BarRules(), WINDOW)
    assert (result.good.height, result.bad.height, result.warnings.height) == (0, 0, 0)


@given(st.data())
def test_no_row_is_ever_lost(data: st.DataObject) -> None:
    frame = minutes("2024-01-02", 20)
    for _ in range(data.draw(st.integers(0, 6))):
        name = data.draw(st.sampled_from(["open", "high", "low", "close", "volume"]))
        text = data.draw(st.sampled_from(["1", "-1", "0", "", "x", "1e300", "0.0000000001", "100.5"]))
        frame = changed(frame, data.draw(st.integers(0, 19)), **{name: text})
    repeated = data.draw(st.lists(st.integers(0, 19), max_size=4))
    frame = pl.concat([frame, *(frame[row : row + 1] for row in repeated)])
    limit = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    result = validate(frame, BarRules(max_bad_fraction=limit), WINDOW, now=datetime(2025, 1, 1, tzinfo=UTC))
    assert result.good.height + result.bad.height + result.duplicates.height == frame.height == result.received
    assert result.good["timestamp"].is_unique().all()


def test_a_judgement_takes_as_many_steps_for_many_rows_as_for_few() -> None:
    def work(days: int, **cells: str) -> int:
        frame = minutes("2024-01-02", 1440 * days, base=1000)
        frame = changed(frame, 7, **cells) if cells else frame
        window = day("2024-01-02", days)
        validate(frame, LENIENT, window)
        with counted_work() as counted:
            assert validate(frame, LENIENT, window).received == frame.height
        return counted.calls

    assert work(1) == work(8)
    assert work(1, volume="-1") == work(8, volume="-1")


# --- lines that are no bars -------------------------------------------------------------------------------------------

STRICT = BarRules()
PRICELESS = [
    {"open": None, "high": None, "low": None, "close": None, "volume": None},
    {"open": "null", "high": "null", "low": "null", "close": "null", "volume": "null"},
    {"open": "0.24 Dividend", "high": None, "low": None, "close": None, "volume": None},
    {"open": "4:1 Stock Split", "high": "", "low": "", "close": "", "volume": ""},
    {"open": "0", "high": "0", "low": "0", "close": "0", "volume": "0"},
]


@pytest.mark.parametrize("values", PRICELESS)
@pytest.mark.parametrize("first", [True, False])
def test_a_line_without_a_price_never_vetoes_the_bar_of_its_moment(values: dict[str, str | None], first: bool) -> None:
    bars = minutes("2024-01-02", 3)
    line = changed(bars, 1, **values)[1:2]
    result = validate(pl.concat([line, bars] if first else [bars, line]), STRICT, WINDOW)
    assert (result.good.height, codes(result), result.refused) == (3, [["no_bar"]], frozenset())
    assert result.good["close"].null_count() == 0


@pytest.mark.parametrize("values", PRICELESS)
def test_a_line_without_a_price_and_without_its_bar_counts_as_a_bad_row(values: dict[str, str | None]) -> None:
    result = validate(changed(minutes("2024-01-02", 10), 1, **values), STRICT, WINDOW)
    assert (result.good.height, len(result.refused)) == (0, 1)


def test_where_bars_without_trades_are_left_out_an_empty_one_is_no_bad_row() -> None:
    frame = minutes("2024-01-02", 10)
    for row in range(6):
        frame = changed(frame, row, **PRICELESS[0])
    result = validate(frame, replace(STRICT, gap_policy=GapPolicy.NO_TRADE), WINDOW)
    assert (result.good.height, codes(result)) == (4, [["no_bar"]] * 6)


def test_numbers_that_cannot_be_read_are_no_lines_without_a_price() -> None:
    frame = changed(minutes("2024-01-02", 10), 1, open="1.234,5", high="1.234,5", low="1.234,5", close="1.234,5")
    assert codes(validate(frame, LENIENT, WINDOW)) == [["unreadable_number"]]


def test_a_value_that_is_written_differently_is_the_same_value() -> None:
    frame = minutes("2024-01-02", 3)
    again = frame[1:2].with_columns(pl.col("open").str.replace("$", "000", literal=False))
    result = validate(pl.concat([frame, again]), STRICT, WINDOW)
    assert (result.good.height, result.duplicates.height, result.bad.height) == (3, 1, 0)


# --- rows that belong to no session -----------------------------------------------------------------------------------


def stamped(frame: pl.DataFrame, stamps: dict[int, datetime | None]) -> pl.DataFrame:
    values = [stamps.get(row, stamp) for row, stamp in enumerate(frame["timestamp"])]
    return frame.with_columns(pl.Series("timestamp", values, pl.Datetime("us", "UTC")))


@pytest.mark.parametrize(
    "stamp", [None, at("2024-01-05T00:00"), at("1970-01-20T16:56:36"), datetime(1900, 1, 1, tzinfo=UTC)]
)
def test_too_many_rows_of_no_session_refuse_the_whole_answer(stamp: datetime | None) -> None:
    frame = stamped(minutes("2024-01-02", 1440), dict.fromkeys(range(15), stamp))
    result = validate(frame, STRICT, WINDOW)
    found = result.unplaced["BTC-USD"]
    assert (found.rows, found.out_of, found.refused, result.good.height, result.bad.height) == (15, 1440, True, 0, 1440)
    assert result.refused_answers == {"BTC-USD"}
    assert codes(result).count(["refused_with_answer"]) == 1425
    few = validate(stamped(minutes("2024-01-02", 1440), dict.fromkeys(range(14), stamp)), STRICT, WINDOW)
    assert (few.unplaced["BTC-USD"].refused, few.good.height) == (False, 1426)


def test_the_share_is_one_of_everything_that_was_read() -> None:
    frame = stamped(minutes("2024-01-02", 1440), dict.fromkeys(range(15)))
    result = validate(frame, STRICT, WINDOW, rows_read={"BTC-USD": 1500})
    assert (result.unplaced["BTC-USD"].out_of, result.good.height) == (1500, 1425)


def test_another_symbol_does_not_suffer() -> None:
    bad = minutes("2024-01-02", 10, symbol="AAA-USD").with_columns(
        pl.lit(None, pl.Datetime("us", "UTC")).alias("timestamp")
    )
    result = validate(pl.concat([bad, minutes("2024-01-02", 10)]), STRICT, WINDOW)
    assert (result.good["symbol"].unique().to_list(), result.refused_answers) == (["BTC-USD"], {"AAA-USD"})


@pytest.mark.parametrize(
    ("factor", "divisor", "mistake"),
    [
        (1, 1000, "seconds read as milliseconds"),
        (1, 1_000_000, "seconds read as microseconds"),
        (1000, 1, "microseconds read as milliseconds"),
    ],
)
def test_stamps_of_another_unit_are_implausible_and_the_unit_is_guessed(
    factor: int, divisor: int, mistake: str
) -> None:
    frame = minutes("2024-01-02", 3)
    wrong = (frame["timestamp"].to_physical() * factor // divisor).cast(pl.Datetime("us", "UTC"))
    result = validate(frame.with_columns(wrong), STRICT, WINDOW)
    assert codes(result) == [["implausible_timestamp"]] * 3
    found = result.unplaced["BTC-USD"]
    assert (found.refused, found.of_any_day, mistake in found.sentence) == (True, 3, True)
    assert ("1970" in found.sentence) == (divisor > 1)


def test_an_hour_that_the_clock_shows_twice_discredits_nothing() -> None:
    frame = stamped(minutes("2024-01-02", 5), {1: None, 2: None}).with_columns(
        pl.Series("fault", [None, "ambiguous_timestamp", "ambiguous_timestamp", None, None])
    )
    result = validate(frame, STRICT, WINDOW)
    assert (result.good.height, codes(result), result.doubts.height) == (3, [["ambiguous_timestamp"]] * 2, 0)


def test_a_row_far_from_the_window_is_not_looked_up_in_the_calendar() -> None:
    rules = BarRules(calendar=get_calendar("XNYS"), max_bad_fraction=1.0)
    frame = stamped(minutes("2024-01-02T14:30", 5), {4: datetime(1492, 10, 12, tzinfo=UTC)})
    with counted_work() as counted:
        result = validate(frame, rules, WINDOW)
    assert (result.good.height, codes(result)) == (4, [["implausible_timestamp"]])
    assert "1492" in result.bad["row"][0]
    assert counted.calls < 50_000


def test_a_row_without_a_day_casts_doubt_on_the_days_around_it_and_on_no_other_year() -> None:
    rules = BarRules(resolution=Resolution.DAY, max_bad_fraction=0.2)
    frame = stamped(minutes("2024-03-01", 20, step=86_400), {9: None})
    decades = Window.of("1970-01-01", "2025-01-01")
    (doubt,) = validate(frame, rules, decades).doubts.rows()
    assert doubt == ("BTC-USD", at("2024-03-04T00:00").date(), at("2024-03-16T00:00").date())
    reversed_file = frame.reverse()
    assert validate(reversed_file, rules, decades).doubts.rows() == [doubt]
