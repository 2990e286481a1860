"""What the page takes to scroll and sort millions of stored bars: seconds until rows are seen, and memory of page and server.

A lake of its own is served by `gb serve` and looked at in a real Chromium.

python -m benchmarks page_rows --thousands 1000    a smaller one
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.api import fill
from benchmarks.measurement import Measurement
from gb_pipeline_tests.browser import Page, open_page
from gb_pipeline_tests.serving import serving

_SEEN = "document.querySelectorAll('[data-row]').length && !document.querySelector('main').innerText.includes('…')"
_SCREENS = 50


def measure(thousands: int = 10_000) -> Iterator[Measurement]:
    """So many thousand bars of four symbols: opened, scrolled through, the last row, and sorted by two columns."""
    program = os.environ.get("GB_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no chromium on this machine: install it, or name it with GB_CHROMIUM")
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        root = Path(folder) / "data"
        began = time.perf_counter()
        fill(root, thousands * 1000)
        yield Measurement(f"{thousands / 1000:g} M bars stored", time.perf_counter() - began, "s")
        with serving(root, Path(folder)) as server:
            yield from asyncio.run(_look(program, server.url, server.process.pid, thousands * 1000))


async def _look(program: str, url: str, pid: int, rows: int) -> list[Measurement]:
    taken = []
    async with open_page(program) as page:

        async def note(name: str, act: str) -> None:
            before = time.perf_counter()
            await page.evaluate(f"{act}; 0")
            await page.until(_SEEN, 600)
            taken.append(Measurement(name, time.perf_counter() - before, "s"))

        before = time.perf_counter()
        await page.open(f"{url}/page/#/bars/bench/1m")
        await page.until(_SEEN, 600)
        taken.append(Measurement("the first rows are seen", time.perf_counter() - before, "s"))
        taken.extend(await _memory(page, pid, "at first"))
        before = time.perf_counter()
        for step in range(1, _SCREENS + 1):
            share = step / (_SCREENS + 1)
            await page.evaluate(
                f"(view => view.scrollTop = view.scrollHeight * {share})(document.querySelector('.grid')); 0"
            )
            await page.until(_SEEN, 600)
        taken.append(Measurement("a place anywhere, mean of 50", (time.perf_counter() - before) / _SCREENS, "s"))
        taken.extend(await _memory(page, pid, "scrolled"))
        await note("a jump to the last row", "document.querySelector('.grid').scrollTop = 1e9")
        assert f"of {rows:,}" in await page.text()
        await note("sorted by close, the first time", _press("close"))
        taken.extend(await _memory(page, pid, "sorted"))
        await note("the same, the largest first", _press("close"))
        await note("its middle", "(view => view.scrollTop = view.scrollHeight / 2)(document.querySelector('.grid'))")
        await note("sorted by volume, too", _press("volume"))
        taken.extend(await _memory(page, pid, "at the end"))
    return taken


def _press(column: str) -> str:
    return (
        f"[...document.querySelectorAll('.grid-head button')].find(one => one.innerText.startsWith('{column}')).click()"
    )


async def _memory(page: Page, pid: int, when: str) -> list[Measurement]:
    """The heap of the page's scripts, and what the server holds beside files that are mapped."""
    heap = await page.evaluate("performance.memory.usedJSHeapSize")
    held = await asyncio.to_thread(_held, pid)
    return [
        Measurement(f"memory of the page, {when}", float(str(heap)) / 1e6, "MB"),
        Measurement(f"memory of the server, {when}", held / 1e6, "MB"),
    ]


def _held(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("RssAnon"))
