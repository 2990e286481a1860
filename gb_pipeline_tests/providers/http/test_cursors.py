"""Pages end, and go on."""

from __future__ import annotations

from itertools import count

import pytest

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.providers.http.cursors import Ascending, Cursors


def test_a_page_that_was_there_before_is_the_end_of_patience() -> None:
    cursors = Cursors("acme", rows=1_000_000)
    cursors.follow("a")
    cursors.follow("b")
    with pytest.raises(TransientVendorError, match="was there before"):
        cursors.follow("a")


@pytest.mark.parametrize(("rows", "most"), [(0, 10), (390, 10), (44_640, 54), (1_000_000, 1010)])
def test_pages_end_where_no_list_would_go_on(rows: int, most: int) -> None:
    cursors = Cursors("acme", rows)
    followed = 0
    with pytest.raises(TransientVendorError, match="ever more pages"):
        for number in count():
            cursors.follow(str(number))
            followed += 1
    assert followed == most - 1


def test_bars_go_on_in_time_even_when_pages_overlap_or_are_out_of_order() -> None:
    ascending = Ascending("acme")
    for page in ([1, 2, 3], [], [3, 4], [6, 4, 5]):
        ascending.admit(page)
    for again in ([4, 5, 6], [1]):
        with pytest.raises(TransientVendorError, match="there before"):
            ascending.admit(again)
    ascending.admit([7])
