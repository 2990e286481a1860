"""Laws of the numbers by which a grid finds rows, and the grid itself at ten million rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.api.page.session_index import SessionIndex

READY = "!document.querySelector('[aria-busy], main .loading') && !!document.querySelector('main h1')"
# A grid of the page over rows that are made up: `cells` counts what is on the page, `kept` the rows that are held.
MILLIONS = """
(async () => {
  const { grid } = await import('/page/js/grid.js');
  const columns = [{ name: 'number', kind: 'number' }, { name: 'text', kind: 'text' }];
  const fetch = async (offset, limit) => ({ columns, total: 10_000_000, offset,
    rows: Array.from({ length: Math.min(limit, 10_000_000 - offset) }, (_, at) => [offset + at, 'x']) });
  window.made = grid('Made up', fetch);
  document.querySelector('main').replaceChildren(window.made);
  return true;
})()
"""


def index(counts: list[tuple[int, int]]) -> SessionIndex:
    """Sessions of a minute each bar: (symbol, bars)."""
    first = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"S{symbol}", first + timedelta(days=number), first + timedelta(days=number, minutes=bars - 1), bars)
        for number, (symbol, bars) in enumerate(sorted(counts))
    ]
    frame = pl.DataFrame(
        rows,
        schema={
            "symbol": pl.String(), "first_timestamp": pl.Datetime("us", "UTC"), "last_timestamp": pl.Datetime("us", "UTC"),
            "actual": pl.Int64(),
        },
        orient="row",
    )  # fmt: skip
    return SessionIndex(frame.with_columns(first=pl.col("actual").cum_sum() - pl.col("actual")))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 1440)), max_size=40),
    st.integers(0, 60_000),
    st.integers(0, 1000),
)
def test_parts_hold_every_row_of_a_window_and_no_session_more(counts, offset, limit):
    found = index(counts)
    inside = range(offset, min(offset + limit, found.total))

    parts = found.parts(offset, limit)

    places = [range(part.first, part.first + part.bars) for part in parts]
    assert all(any(row in place for place in places) for row in (inside[:1] or []))
    assert all(any(row in place for place in places) for row in (inside[-1:] or []))
    assert sum(map(len, places)) <= len(inside) + 2 * 1440
    assert all(before.stop == after.start for before, after in pairwise(places))
    assert bool(parts) == bool(inside)


def test_fifty_years_of_minutes_are_found_by_their_number():
    found = index([(0, 1440)] * 18_250)

    [part] = found.parts(20_000_000, 200)

    assert found.total == 26_280_000
    assert part.first <= 20_000_000 < part.first + part.bars and part.bars <= 2 * 1440


async def test_a_grid_of_ten_million_rows_holds_a_screen_of_them(site, browser):
    here = "Number(document.activeElement.closest('[role=row]')?.getAttribute('aria-rowindex'))"
    async with browser() as page:
        await page.watch()
        await page.open(f"{site}/page/#/gaps")
        await page.until(READY)
        await page.until(MILLIONS)
        await page.until("!!document.querySelector('[role=gridcell][tabindex=\"0\"]')")
        await page.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
        await page.key("End", modifiers=2)
        await page.until(
            f"{here} == 10_000_001 && document.querySelector('[data-row=\"9999999\"]').innerText.includes('9,999,999')"
        )
        for share in (0.1, 0.9, 0.5):
            await page.evaluate(
                f"(view => {{ view.scrollTop = view.scrollHeight * {share} }})(document.querySelector('.grid'))"
            )
            await page.until(f"Math.abs(made.querySelector('[data-row]').dataset.row / 1e7 - {share}) < 0.01")
        await page.evaluate("made.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
        before = await page.until(here)
        await page.key("ArrowDown")
        await page.until(f"{here} == {before} + 1")
        for _ in range(60):
            await page.evaluate(
                "(view => { view.scrollTop += view.scrollHeight / 97 % view.scrollHeight })(document.querySelector('.grid'))"
            )
        assert await page.evaluate("made.pages.kept.size") <= 40
        assert await page.evaluate("document.querySelectorAll('[role=gridcell]').length") <= 2 * 16
        assert page.complaints == []
