"""Rows that were read are received, or lie outside of what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import LakeError
from gb_pipeline.quality.read_rows import FileRows, ReadRows


def test_numbers_that_do_not_add_up_are_an_error() -> None:
    with pytest.raises(LakeError, match="3 rows read: 1 received, 1 outside"):
        ReadRows(read=3, received=1, outside=1)
    with pytest.raises(LakeError, match="of files 2"):
        ReadRows(3, 2, 1, (FileRows("a.csv", 3, 2),))


@given(
    st.lists(st.sampled_from(["a.csv", "b.csv"]), max_size=40), st.lists(st.integers(0, 4), min_size=40, max_size=40)
)
def test_a_file_that_is_read_for_many_windows_has_its_rows_once(names: list[str], windows: list[int]) -> None:
    rows = list(zip(names, windows, strict=False))
    whole = ReadRows()
    # Four windows; rows of the last number are in none of them.
    for window in range(4):
        files = tuple(
            FileRows(name, names.count(name), sum(row[0] == name and row[1] != window for row in rows))
            for name in dict.fromkeys(names)
        )
        outside = sum(item.outside for item in files)
        whole += ReadRows(len(rows), len(rows) - outside, outside, files)
    outside = sum(at == 4 for _, at in rows)
    assert (whole.read, whole.received, whole.outside) == (len(rows), len(rows) - outside, outside)


def test_files_with_most_rows_outside_come_first() -> None:
    files = (FileRows("a.csv", 5, 1), FileRows("b.csv", 5, 0), FileRows("c.csv", 5, 3))
    assert [item.file for item in ReadRows(15, 11, 4, files).outside_files] == ["c.csv", "a.csv"]
    assert files[2].sentence == "c.csv: 5 rows read, 3 outside of what was asked for"
