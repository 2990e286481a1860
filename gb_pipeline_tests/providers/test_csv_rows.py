"""Every data line of a text comes out as one row, with the numbers as they stand there."""

from __future__ import annotations

import csv
import io
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, RECEIVED_OPTIONAL
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.presets import fill_preset
from gb_pipeline.providers.csv.rows import Reading, parse

HEADER = "timestamp,open,high,low,close,volume"


def rows(text: str, **options: Any) -> pl.DataFrame:
    chosen = fill_preset(CsvOptions.read({"path": "x", "timezone": "UTC", **options}), Resolution.DAY)
    frame = parse(text, "x.csv", None, Reading(chosen, Resolution.DAY)).frame.drop("owner")
    assert {name: kind for name, kind in frame.schema.items() if name in RECEIVED} == RECEIVED
    assert {
        name: kind for name, kind in frame.schema.items() if name not in RECEIVED
    }.items() <= RECEIVED_OPTIONAL.items()
    return frame


def numbers(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("open", "high", "low", "close", "volume").rows()


def test_numbers_keep_every_digit() -> None:
    frame = rows(f"{HEADER}\n2024-01-02,266.0400085449219,1.10,0100,9.999999747378752e-05,42688622.0")
    assert numbers(frame) == [("266.0400085449219", "1.10", "0100", "9.999999747378752e-05", "42688622.0")]


def test_each_row_carries_the_line_as_it_stands_in_the_file() -> None:
    line = ' 2024-01-02 , "1" ,2,1,2,3'
    assert rows(f"{HEADER}\r\n{line}\r\n")["received"].to_list() == [line]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("tail", ["", "\n", "\n\n   \n"])
def test_line_ends_and_blank_lines_are_no_rows(end: str, tail: str) -> None:
    text = f"{HEADER}\n2024-01-02,1,2,1,2,3\n\n2024-01-03,1,2,1,2,3{tail}".replace("\n", end)
    assert rows(text).height == 2


@pytest.mark.parametrize(
    "line", ["2024-01-02,1,2,1,2", "2024-01-02,1,234.5,2,1,2,3", "2024-01-02,,1,2,1,2,3", "2024-01-02"]
)
def test_a_ragged_line_keeps_its_stamp_and_no_number(line: str) -> None:
    frame = rows(f"{HEADER}\n{line}\n2024-01-03,1,2,1,2,3")
    assert numbers(frame) == [(None,) * 5, ("1", "2", "1", "2", "3")]
    assert frame["received"][0] == line
    assert frame["timestamp"].null_count() == 0


def test_a_delimiter_at_the_end_of_a_line_says_nothing() -> None:
    assert numbers(rows(f"{HEADER}\n2024-01-02,1,2,1,2,3,,")) == [("1", "2", "1", "2", "3")]


def test_without_a_header_most_lines_say_how_many_fields_there_are() -> None:
    frame = rows(
        "2024-01-02,1,2,1,2,3,x\n2024-01-03,1,2,1,2,3,x\n2024-01-04,1,2,1,2,3",
        header=False,
        columns={"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    )
    assert frame["volume"].to_list() == ["3", "3", None]


def test_a_stray_quote_does_not_swallow_the_lines_after_it() -> None:
    frame = rows(f'{HEADER}\n2024-01-02,"1,2,1,2,3\n2024-01-03,1,2,1,2,3\n')
    assert numbers(frame) == [(None,) * 5, ("1", "2", "1", "2", "3")]


def test_quoted_fields_may_hold_the_delimiter() -> None:
    assert numbers(rows('"timestamp",open,high,low,close,volume\n2024-01-02,1,2,1,2,"3,000"')) == [
        ("1", "2", "1", "2", "3,000")
    ]


def test_what_cannot_be_read_comes_out_as_it_is() -> None:
    frame = rows(f"{HEADER}\nrubbish,-,2,1,2,3\n2024-01-02,1,2,1,2,many")
    assert frame["timestamp"].to_list()[0] is None
    assert frame["open"].to_list() == ["-", "1"]
    assert frame["volume"].to_list() == ["3", "many"]


def test_null_values_are_absent_numbers() -> None:
    assert numbers(rows(f"{HEADER}\n2024-01-02,null,,NaN,2,-", null_values=["", "null", "NaN", "-"])) == [
        (None, None, None, "2", None)
    ]


def test_whitespace_of_any_width_separates() -> None:
    text = "day  time   o h l c v\n 2024-01-02\t00:00  1  2   1 2   3 "
    mapping = {"date": "day", "time": "time", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
    frame = rows(text, delimiter="whitespace", columns=mapping)
    assert numbers(frame) == [("1", "2", "1", "2", "3")]
    assert str(frame["timestamp"][0]) == "2024-01-02 00:00:00+00:00"


def test_date_and_milliseconds_may_be_columns() -> None:
    options = CsvOptions.read(
        {
            "path": "x",
            "timezone": "UTC",
            "timestamp_format": "ms_of_day",
            "date_format": "%d.%m.%Y",
            "columns": {"date": "d", "time": "ms"},
        }
    )
    text = "d,ms,open,high,low,close,volume\n02.01.2024,60000,1,2,1,2,3\n02.01.24,60000,1,2,1,2,3"
    frame = parse(text, "x", None, Reading(fill_preset(options, Resolution.MINUTE), Resolution.MINUTE)).frame
    assert [str(stamp) for stamp in frame["timestamp"]] == ["2024-01-02 00:01:00+00:00", "None"]


def test_skipped_and_commented_lines_are_no_rows() -> None:
    text = f"made by X\n# a\n{HEADER}\n# b\n2024-01-02,1,2,1,2,3"
    assert rows(text, skip_rows=1, comment="#").height == 1


def test_columns_are_found_by_any_of_several_names_whatever_their_case() -> None:
    text = "DATE,Open,HIGH,low,Last,Vol\n2024-01-02,1,2,1,2,3"
    frame = rows(text, columns={"close": ["Close", "Last"], "volume": "vol"})
    assert numbers(frame) == [("1", "2", "1", "2", "3")]


def test_a_missing_column_is_an_error_that_lists_the_columns() -> None:
    with pytest.raises(PermanentVendorError, match=r"x\.csv has no column 'close'.*timestamp, open, high, low, last"):
        rows("timestamp,open,high,low,last,volume\n")


@pytest.mark.parametrize(
    ("text", "said", "options"),
    [
        ("when\n2024-01-02\n", "it has column when", {}),
        ("timestamp;open;high\n2024-01-02;1;2\n", "it has one column of another name", {}),
        ("a;b,c;d\n1,2\n", "it has 2 columns of other names", {}),
        ("2024-01-02\n", "it has 1 field a line", {"header": False, "columns": {"timestamp": 0, "open": 1}}),
    ],
)
def test_what_there_is_instead_is_counted_right(text: str, said: str, options: dict[str, object]) -> None:
    with pytest.raises(PermanentVendorError, match=said):
        rows(text, **options)


def test_a_position_beyond_the_line_is_an_error() -> None:
    with pytest.raises(PermanentVendorError, match="has no column 9 for volume: it has 6 fields"):
        rows(
            "2024-01-02,1,2,1,2,3",
            header=False,
            columns={"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 9},
        )


def test_a_column_named_twice_is_not_chosen_by_chance() -> None:
    with pytest.raises(PermanentVendorError, match="2 columns 'close'"):
        rows("timestamp,open,high,low,close,close,volume\n")


def test_a_file_of_another_delimiter_is_an_error_not_an_empty_answer() -> None:
    with pytest.raises(PermanentVendorError, match="delimiter"):
        rows(HEADER.replace(",", ";") + "\n2024-01-02;1;2;1;2;3")


def test_no_header_line_is_an_error() -> None:
    with pytest.raises(PermanentVendorError, match="no header"):
        rows("\n \n")


def test_a_vendor_without_volume_stores_zero() -> None:
    text = "timestamp,open,high,low,close\n2024-01-02,1,2,1,2\n2024-01-03,1,2,1"
    assert rows(text, volume="none")["volume"].to_list() == ["0", None]


@given(
    st.text("0123456789", min_size=1, max_size=25), st.text("0123456789", max_size=9), st.sampled_from(["", "-", "+"])
)
def test_a_scale_moves_the_point_and_nothing_else(whole: str, fraction: str, sign: str) -> None:
    number = sign + whole + (f".{fraction}" if fraction else "")
    scaled = rows(f"{HEADER}\n2024-01-02,{number},1,1,1,7", price_scale=10_000)
    text = scaled["open"][0]
    assert Fraction(text) * 10_000 == Fraction(number)
    assert text.lstrip("+-")[0].isdigit()
    assert scaled["volume"][0] == "7"


@pytest.mark.parametrize("text", ["1e5", "1,5", "abc", "0x10", "1_000", "", "-", ".5", "١٢"])
def test_what_cannot_be_scaled_exactly_is_named_and_not_read(text: str) -> None:
    # Left as it is, `1e5` would be stored ten thousand times too high.
    frame = rows(f'{HEADER}\n2024-01-02,"{text}",1,1,1,7', price_scale=10_000)
    assert frame["open"].to_list() == [f"unreadable: {text}" if text else None]
    assert frame["high"].to_list() == ["0.0001"]


def test_a_decimal_comma_is_a_point_and_a_point_beside_it_is_refused() -> None:
    text = "timestamp;open;high;low;close;volume\n2024-01-02;1,5;1.234,5;1.234;2;3"
    assert numbers(rows(text, delimiter=";", decimal_comma=True)) == [
        ("1.5", "unreadable: 1.234,5", "unreadable: 1.234", "2", "3")
    ]


_FIELD = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00\x85\u2028\u2029", categories=["L", "N", "P", "S", "Zs"]),
    max_size=8,
)


@given(st.lists(st.lists(_FIELD, min_size=6, max_size=6), min_size=1, max_size=8))
def test_fields_are_those_that_the_csv_module_reads(table: list[list[str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([["2024-01-02", *line[1:]] for line in table])
    frame = rows(f"{HEADER}\n{buffer.getvalue()}", null_values=[])
    wanted = [tuple(field.strip() for field in line[1:]) for line in table]
    assert [tuple(field.strip() for field in line) for line in numbers(frame)] == wanted


def _says_something(line: str) -> bool:
    # Python takes the separators of ASCII for spaces, which Unicode does not.
    return any(not letter.isspace() or letter in "\x1c\x1d\x1e\x1f" for letter in line)


@given(st.text(max_size=200))
def test_no_text_loses_a_line(text: str) -> None:
    frame = rows(f"{HEADER}\n{text}")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert frame["received"].to_list() == [line for line in lines if _says_something(line)]


# --- thousands and suffixes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("1,234.5", {"thousands": ","}, "1234.5"), ("-12,345,678", {"thousands": ","}, "-12345678"),
        ("1234.5", {"thousands": ","}, "1234.5"), ("1,23.5", {"thousands": ","}, None), ("1,2345", {"thousands": ","}, None),
        ("1.234,50", {"thousands": ".", "decimal_comma": True}, "1234.50"),
        ("1.5", {"thousands": ".", "decimal_comma": True}, None),
        ("1 234,5", {"thousands": " ", "decimal_comma": True}, "1234.5"), ("1\u00a0234", {"thousands": " "}, "1234"),
        ("1\u202f234.5", {"thousands": " "}, "1234.5"),
        ("1'234.5", {"thousands": "'"}, "1234.5"), ("1\u2019234", {"thousands": "'"}, "1234"),
        ("58.41M", {"suffixes": True}, "58410000"), ("1.23456K", {"suffixes": True}, "1234.56"),
        ("7b", {"suffixes": True}, "7000000000"),
        (".5T", {"suffixes": True}, "500000000000"), ("0.10 K", {"suffixes": True}, "0100"), ("12", {"suffixes": True}, "12"),
        ("M", {"suffixes": True}, None), ("5X", {"suffixes": True}, "5X"),
        ("1,234.56M", {"thousands": ",", "suffixes": True}, "1234560000"),
        ("1.234,5M", {"thousands": ".", "decimal_comma": True, "suffixes": True}, "1234500000"),
    ],
)  # fmt: skip
def test_groups_and_suffixes_are_read_exactly_or_named(
    text: str, options: dict[str, Any], expected: str | None
) -> None:
    frame = rows(f"{HEADER.replace(',', ';')}\n2024-01-02;1;2;1;2;{text}", delimiter=";", **options)
    assert frame["volume"].to_list() == [f"unreadable: {text}" if expected is None else expected]


@settings(max_examples=30)
@given(st.decimals(0, 10**15, places=6, allow_nan=False), st.sampled_from("KMBT"))
def test_a_suffix_moves_the_point_and_nothing_else(value: Any, suffix: str) -> None:
    read = rows(f"{HEADER}\n2024-01-02,1,2,1,2,{value}{suffix}", suffixes=True)["volume"][0]
    assert Fraction(read) == Fraction(value) * 1000 ** ("KMBT".index(suffix) + 1)


@given(st.integers(0, 10**15), st.text("0123456789", max_size=6), st.sampled_from([",", " ", "'", "."]))
def test_what_groups_digits_changes_no_value(whole: int, fraction: str, sign: str) -> None:
    point = "," if sign == "." else "."
    text = f"{whole:,}".replace(",", sign) + (point + fraction if fraction else "")
    options = {"thousands": sign, "decimal_comma": sign == ".", "delimiter": ";"}
    read = rows(f"{HEADER.replace(',', ';')}\n2024-01-02;1;2;1;2;{text}", **options)["volume"][0]
    assert Fraction(read) == Fraction(f"{whole}.{fraction or 0}")
