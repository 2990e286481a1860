"""The page in a real Chromium: what a person sees, with keys alone, in the dark, on a telephone, and when something is wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.tokens import Scope, TokenStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.api.page.conftest import HOSTILE, serving
from gb_pipeline_tests.bars import minutes

READY = "!document.querySelector('[aria-busy], main .loading') && !!document.querySelector('main h1')"
PLACES = (
    "lake", "source/coinbase/1m", "series/coinbase/BTC-USD/1m", "series/mine/AAPL/1d?adjustment=splits", "bars/coinbase/1m", "gaps",
    "restatements", "quarantine", "actions", "streams", "strategies", "strategy/crossing", "run/crossing/2/b",
    "comparison?left=crossing%2F1%2Fa&right=crossing%2F2%2Fb", "runs?metrics=sharpe%20%3E%201",
    "runs?chart=bars&values=metrics.sharpe,metrics.trades&sort=-metrics.sharpe", "nowhere",
)  # fmt: skip
# What WCAG 2.2 asks for at A and AA, and what axe thinks good practice.
AXE = (
    "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then(found =>"
    " found.violations.map(one => one.id + ': ' + one.nodes.map(node => node.target + ' ' + node.failureSummary).join('; ')))"
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Where pictures go: `GB_SCREENSHOTS`, else a temporary folder; never into the repository."""
    folder = Path(os.environ.get("GB_SCREENSHOTS") or tmp_path_factory.mktemp("page-pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def visit(page, site: str, place: str, width: int = 1400, height: int = 900) -> None:
    await page.watch()
    await page.open(f"{site}/page/#/{place}", width, height)
    await page.until(READY)


async def go(page, place: str) -> None:
    await page.evaluate(f"location.hash = {('#/' + place)!r}")
    await page.until(f"location.hash == {('#/' + place)!r} && {READY}")


def name_of(place: str) -> str:
    return place.replace("/", "-").partition("?")[0] + "-chart" * ("chart=" in place)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_view_is_shown_without_a_complaint_and_is_accessible(site, browser, pictures, dark):
    axe = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
    async with browser() as page:
        if dark:
            await page.prefer_dark()
        await visit(page, site, "lake")
        await page.evaluate(f"{axe};0")
        for place in PLACES:
            await go(page, place)
            assert await page.evaluate(AXE) == [], place
            await page.picture(pictures / f"page-{name_of(place)}{'-dark' * dark}.png")

        assert page.complaints == []
        assert [address for address in page.requests if not address.startswith((site, "data:", "about:"))] == []
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(16, 22, 26)") is dark


async def test_nothing_is_wider_than_a_telephone(site, browser, pictures):
    async with browser() as page:
        await visit(page, site, "lake", 375, 812)
        await page.evaluate(f"{(Path(__file__).parent / 'axe' / 'axe.min.js').read_text(encoding='utf-8')};0")
        for place in PLACES:
            await go(page, place)
            assert await page.evaluate(AXE) == [], place
            assert await page.evaluate("document.documentElement.scrollWidth") == 375, place
            await page.picture(pictures / f"page-{name_of(place)}-telephone.png")


async def test_candles_come_with_their_marks_and_older_ones_when_they_are_wanted(site, browser):
    async with browser() as page:
        await visit(page, site, "series/coinbase/BTC-USD/1m")
        await page.text_with("Restatements: 1", "140.25", "2024-01-04 23:40")
        await page.evaluate("document.querySelector('.chart').focus()")
        older = "performance.getEntriesByType('resource').filter(one => one.name.includes('before=')).length > 0"
        until = time.monotonic() + 60
        # A chart that has just come takes its place once it knows its width, whatever was pressed before.
        while not await page.evaluate(older):
            assert time.monotonic() < until
            await page.key("PageUp")

        assert page.complaints == []


async def test_a_moment_in_the_past_is_in_the_address_and_shows_what_was_known(site, browser):
    async with browser() as page:
        await visit(page, site, "series/coinbase/BTC-USD/1m?as_of=2024-02-02T00:00:00Z")
        text = await page.text_with("as it was known at 2024-02-02", "no restatements, no gaps")
        assert "Restatements: 1" not in text
        await page.press("Now", "Restatements: 1")
        assert "as_of" not in str(await page.evaluate("location.hash"))


async def test_a_grid_is_walked_with_keys_alone(site, browser, lake):
    rows = len(lake.bars(None, "1m", source="coinbase", columns=["timestamp"]))
    here = "Number(document.activeElement.closest('[role=row]')?.getAttribute('aria-rowindex'))"
    async with browser() as page:
        await visit(page, site, "bars/coinbase/1m")
        await page.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
        await page.key("ArrowDown")
        await page.key("ArrowRight")
        assert await page.until(here) == 3
        await page.key("End", modifiers=2)
        await page.until(f"{here} == {rows + 1} && document.activeElement.textContent != '…'")
        assert await page.evaluate("document.querySelectorAll('[role=gridcell][tabindex=\"0\"]').length") == 1
        await page.key("Home", modifiers=2)
        assert await page.until(f"{here} == 2")
        await page.key("Enter")
        await page.until("location.hash.startsWith('#/series/coinbase/BTC-USD/1m')")
        assert page.complaints == []


async def test_a_header_sorts_with_the_mouse_and_with_keys_alone(site, browser, lake):
    closes = lake.bars(None, "1m", source="coinbase", columns=["symbol", "timestamp", "close"])
    way = "document.querySelector('[role=columnheader][aria-sort=ascending], [role=columnheader][aria-sort=descending]')?.innerText"
    first = "document.querySelector('[data-row=\"0\"]')?.children[5].innerText"
    async with browser() as page:
        await visit(page, site, "bars/coinbase/1m?row=3000")
        await page.press("close", "sorted by close", within=".grid-head")
        assert str(await page.evaluate(way)).startswith("close")
        assert await page.until(f"{first} != '' && {first}") == str(closes["close"].min()).rstrip("0").rstrip(".")
        assert await page.evaluate("location.hash") == "#/bars/coinbase/1m?sort=close"
        # Tab leads to one header, the arrows to the others and down to the rows.
        await page.evaluate(
            "document.activeElement.blur(); document.querySelector('.grid-head button[tabindex=\"0\"]').focus()"
        )
        await page.key("ArrowRight")
        await page.key("ArrowLeft")
        await page.key("Enter")
        await page.text_with("sorted by close", "▼")
        assert await page.until(f"{first} != '' && {first}") == str(closes["close"].max()).rstrip("0").rstrip(".")
        assert await page.evaluate("document.querySelectorAll('.grid-head button[tabindex=\"0\"]').length") == 1
        await page.key("ArrowDown")
        assert await page.until("document.activeElement.getAttribute('role') == 'gridcell'")
        await page.key("ArrowUp")
        assert await page.until("document.activeElement.innerText.startsWith('close')")
        # The address alone brings it back.
        await page.open(f"{site}/page/#/gaps?sort=-missing")
        await page.until(READY)
        assert str(await page.evaluate(way)).startswith("missing")
        assert page.complaints == []


async def test_a_chart_of_what_a_query_finds_is_saved_with_it(site, browser):
    async with browser() as page:
        await visit(page, site, "runs?metrics=sharpe%20%3E%201")
        await page.evaluate("document.querySelector('#chart').value = 'line'")
        await page.evaluate("document.querySelector('#chart').dispatchEvent(new Event('change'))")
        await page.text_with("Sharpe of 2 runs against started at.")
        await page.evaluate("document.querySelector('.choices input[value=\"metrics.trades\"]').click()")
        await page.text_with("Sharpe and trades of 2 runs against started at.")
        assert await page.evaluate("document.querySelectorAll('.chart canvas').length") > 0
        await page.press("sharpe", "sorted by sharpe", within=".grid-head")
        await page.evaluate("document.querySelector('#query-name').value = 'drawn'")
        await page.press("Save", "drawn")
        await go(page, "runs")
        await page.text_with("Rows 1 to 3 of 3", without="against started at.")
        await page.press("drawn", "Sharpe and trades of 2 runs against started at.", "sorted by sharpe")
        assert await page.evaluate(
            "document.querySelector('.grid-head [aria-sort=ascending]').innerText.startsWith('sharpe')"
        )
        await page.evaluate("document.querySelectorAll('.choices input').forEach(box => box.checked && box.click())")
        await page.text_with("No column is chosen.")
        assert page.complaints == []


async def test_a_grid_whose_server_is_gone_says_so_once_and_goes_on_when_it_is_asked_to(site, browser):
    async with browser() as page:
        await visit(page, site, "bars/coinbase/1m")
        await page.evaluate("window.fetched = window.fetch; window.tries = 0")
        await page.evaluate("window.fetch = () => { tries += 1; throw new TypeError('gone') }; 0")
        await page.press("volume", "the server does not answer", "Try again", within=".grid-head")
        assert await page.evaluate("tries") == 1
        await page.evaluate("window.fetch = window.fetched; 0")
        await page.press("Try again")
        await page.text_with("sorted by volume", without="the server does not answer")


async def test_the_first_tab_skips_to_the_content_and_letters_lead_to_pages(site, browser):
    async with browser() as page:
        await visit(page, site, "lake")
        await page.key("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
        await page.key("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.key("g")
        await page.key("q")
        await page.until("location.hash == '#/quarantine'")
        await page.until("document.title.startsWith('Quarantine')")
        await page.key("?")
        assert await page.until("document.querySelector('dialog').open")
        # The dialog has the focus on its button.
        await page.key("Enter")
        await page.until("!document.querySelector('dialog').open")


async def test_the_coverage_map_is_read_with_arrows(site, browser):
    async with browser() as page:
        await visit(page, site, "source/coinbase/1m")
        await page.evaluate("document.querySelector('canvas.heat').focus()")
        await page.key("Home")
        await page.key("ArrowRight")
        await page.text_with("BTC-USD, 2024-01-03: gaps unexplained")
        await page.key("Enter")
        await page.until("location.hash.startsWith('#/series/coinbase/BTC-USD/1m?at=2024-01-03')")


async def test_markup_in_what_a_vendor_sent_stays_text(site, browser):
    hostile = "<img src=x onerror=\"document.title='hacked'\">"
    async with browser() as page:
        await visit(page, site, "quarantine")
        await page.text_with("<img src=x onerror=")
        for place in (f"series/{quote(hostile, safe='')}/{quote(hostile, safe='')}/1m", f"source/{quote(hostile, safe='')}/1m",
                      f"gaps?symbol={quote(hostile, safe='')}", f"{quote(hostile, safe='')}"):  # fmt: skip
            await go(page, place)
        assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert "hacked" not in str(await page.evaluate("document.title"))


async def test_runs_are_asked_for_saved_and_compared(site, browser):
    async with browser() as page:
        await visit(page, site, "runs?metrics=sharpe%20%3E%200")
        await page.text_with("Rows 1 to 3 of 3")
        await page.evaluate("document.querySelector('#query-name').value = 'good ones'")
        await page.press("Save", "good ones")
        await page.press("Explain", "3 runs in")
        await go(page, "runs")
        await page.press("good ones", "Rows 1 to 3 of 3")
        await page.evaluate("document.querySelector('[role=gridcell][tabindex=\"0\"]').focus()")
        await page.key("c")
        await page.key("ArrowDown")
        await page.key("c")
        await page.until("location.hash.startsWith('#/comparison')")
        await page.text_with("Their curves differ first at", "Parameters that differ", "Data that changed")
        assert page.complaints == []


async def test_a_run_shows_all_that_went_in_and_came_out(site, browser):
    async with browser() as page:
        await visit(page, site, "run/crossing/2/b")
        text = await page.text_with("sharpe", "window", "gb_pipeline", "coinbase:BTC-USD", "report.html", HOSTILE[:20])
        assert "in Dagster" in text
        assert await page.evaluate("document.querySelector('.links a').href") == "http://127.0.0.1:3000/runs/0123-4567"
        assert await page.evaluate("document.querySelectorAll('main img').length") == 0


async def test_the_theme_is_kept(site, browser):
    async with browser() as page:
        await visit(page, site, "lake")
        await page.press("Theme: system", "Theme: dark")
        await page.open(f"{site}/page/#/gaps")
        await page.until(READY)
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"


async def test_an_unknown_series_says_what_to_do_once(site, browser, pictures):
    async with browser() as page:
        await visit(page, site, "series/coinbase/BTC-USDD/1m")
        text = await page.text_with("nothing is stored as coinbase BTC-USDD 1m", "To do:")
        await page.picture(pictures / "page-error.png")
    assert text.count("nothing is stored as") == 1


async def test_an_empty_lake_says_how_to_begin(browser, serve, tmp_path, pictures):
    async with browser() as page:
        site = serve(Lake.open(tmp_path / "empty", create=True))
        await visit(page, site, "lake")
        await page.text_with("Nothing is stored yet.", "gb fetch")
        await page.picture(pictures / "page-empty.png")
        for place in ("gaps", "restatements", "quarantine", "actions", "streams"):
            await go(page, place)
        assert page.complaints == []


async def test_a_token_is_asked_for_and_never_in_an_address(browser, serve, tmp_path, pictures):
    lake = Lake.open(tmp_path / "lake", create=True)
    lake.put(minutes("2024-01-02", 10), source="coinbase", resolution="1m")
    text = TokenStore(lake.store.storage.state, clock=lake.store.clock).create("page", [Scope.READ])[1]
    site = serve(lake, ServeOptions(require_token=True))
    async with browser() as page:
        await page.watch()
        await page.open(f"{site}/page/#/lake")
        await page.until("document.querySelector('dialog').open")
        await page.picture(pictures / "page-token.png")
        await page.press("Leave it", "Give a token")
        for place in PLACES:
            # The dialog does not come back by itself, and each view says what it needs.
            await page.evaluate(f"location.hash = {('#/' + place)!r}")
            await page.until("!!document.querySelector('main .problem') && !document.querySelector('main .loading')")
            assert await page.evaluate("document.querySelector('dialog').open") is False, place
        await page.evaluate("location.hash = '#/lake'")
        await page.press("Give a token", "The server wants a token")
        await page.evaluate("document.querySelector('#token').value = 'gb_wrong_' + 'x'.repeat(32)")
        await page.evaluate("document.querySelector('dialog button').click()")
        await page.text_with("refused this token")
        await page.evaluate(f"document.querySelector('#token').value = {text!r}")
        await page.evaluate("document.querySelector('dialog button').click()")
        await page.text_with("series of 1m bars", "BTC-USD")
        assert not [address for address in page.requests if text in address]
        assert await page.evaluate("localStorage.length") == 0
        assert text not in str(await page.evaluate("document.cookie + location.href"))


async def test_a_server_that_is_gone_is_said(lake, browser):
    async with browser() as page:
        with serving(lake) as site:
            await visit(page, site, "lake")
        await page.evaluate("location.hash = '#/gaps'")
        await page.text_with("the server does not answer", "gb serve")
