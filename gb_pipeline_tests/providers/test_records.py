"""Fields of records are read as texts and dates, or refused with the vendor's and the field's name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.providers.records import RecordReader

ACME = RecordReader("Acme")
Read = Callable[[dict[str, Any], str], Any]


@pytest.mark.parametrize("value", ["2024-06-10", "2024-06-10T00:00:00Z"])
def test_a_date_may_be_that_of_an_instant(value: str) -> None:
    assert ACME.required_day({"x": value}, "x") == ACME.day({"x": value}, "x") == date(2024, 6, 10)


def test_whole_numbers_are_texts_as_they_stand() -> None:
    assert [ACME.text({"x": value}, "x") for value in ("0.50", 7)] == ["0.50", "7"]


@pytest.mark.parametrize("row", [{}, {"x": None}, {"x": ""}])
def test_what_is_absent_is_none_unless_it_is_required(row: dict[str, Any]) -> None:
    assert (ACME.text(row, "x"), ACME.day(row, "x")) == (None, None)
    for read in (ACME.required_text, ACME.required_day):
        with pytest.raises(TransientVendorError, match="Acme answered a record whose x is"):
            read(row, "x")


@pytest.mark.parametrize("value", [True, 1.5, ["2024-06-10"], {"day": 1}])
@pytest.mark.parametrize("read", [ACME.text, ACME.required_text, ACME.day, ACME.required_day])
def test_what_is_neither_text_nor_number_is_refused(read: Read, value: Any) -> None:
    with pytest.raises(TransientVendorError, match="a record whose x is"):
        read({"x": value}, "x")


@pytest.mark.parametrize("value", ["soon", "2024-13-01", 7, "0000-00-00"])
def test_what_is_no_date_is_refused(value: Any) -> None:
    with pytest.raises(TransientVendorError, match="as x"):
        ACME.day({"x": value}, "x")


@pytest.mark.parametrize("rows", [None, {}, "rows", [1], [{}, None]])
def test_a_list_holds_objects_and_nothing_else(rows: Any) -> None:
    with pytest.raises(TransientVendorError, match="Acme answered no list of bars"):
        ACME.objects(rows, "bars")
    assert ACME.objects([{"a": 1}], "bars") == [{"a": 1}]
