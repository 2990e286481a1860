"""A real Chromium, spoken to in the DevTools protocol: no driver and no library beside the browser itself."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-port=0", "--window-size=1600,1000",
]  # fmt: skip


class Page:
    """One tab.

    Attributes:
        requests: addresses that were asked for since `watch`.
        complaints: what the console said since `watch`: errors of scripts, and what the page's rules forbade.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def _heard(self, event: dict) -> None:
        given = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.complaints.append(given["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and given["type"] == "error":
            self.complaints.append(str(given["args"]))

    async def watch(self) -> None:
        """Note from now on what is asked for, and what the console complains about."""
        for area in ("Network", "Runtime", "Log"):
            await self._call(f"{area}.enable")

    async def prefer_dark(self) -> None:
        """Let the system be a dark one."""
        await self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    async def key(self, name: str, modifiers: int = 0) -> None:
        """Press a key as a person does, such as `Tab`, `ArrowDown` or `a`; 2 for Ctrl and 8 for Shift among the modifiers."""
        codes = {
            "Tab": 9,
            "Enter": 13,
            "End": 35,
            "Home": 36,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
        }
        text = {"text": "\r" if name == "Enter" else name} if len(name) == 1 or name == "Enter" else {}
        common = {"key": name, "modifiers": modifiers, "windowsVirtualKeyCode": codes.get(name, ord(name[0]))}
        await self._call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        await self._call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def until(self, expression: str, seconds: float = 30) -> object:
        """The value of an expression, or of a promise, once it is true."""
        end = time.monotonic() + seconds
        while not (found := await self.evaluate(expression)):
            assert time.monotonic() < end, f"{expression} stays false: {(await self.text())[:1500]} {self.complaints}"
            await asyncio.sleep(0.05)
        return found

    async def _call(self, method: str, **parameters) -> dict:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=60)
            self._heard(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def open(self, url: str, width: int = 1600, height: int = 1000) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self._call("Emulation.setDeviceMetricsOverride", **size)
        await self._call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> object:
        answer = await self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    async def text(self) -> str:
        return str(await self.evaluate("document.body.innerText") or "")

    async def text_with(self, *words: str, without: str = "\0", seconds: float = 60) -> str:
        """The page's text once it holds all words, not the one that stands for loading, and has stopped changing."""
        until, before = time.monotonic() + seconds, ""
        while True:
            text = await self.text()
            missing = [word for word in words if word.lower() not in text.lower()]
            if not missing and without not in text and text == before:
                return text
            assert time.monotonic() < until, f"the page shows no {missing}: {text[:1500]}"
            before = text
            await asyncio.sleep(0.4)

    async def click(self, word: str, until: str) -> None:
        """Click the first element whose whole text is this, until something is there.

        Args:
            word: text of the element.
            until: CSS selector of what the click brings up.
        """
        leaves = "[...document.querySelectorAll('span, a, button')].filter(item => !item.children.length)"
        element = f"{leaves}.find(item => item.innerText.trim() == {word!r})"
        limit = time.monotonic() + 30
        while not await self.evaluate(f"!!document.querySelector({until!r})"):
            assert time.monotonic() < limit, f"a click on {word!r} brings up no {until}"
            await self.evaluate(f"{element}?.click()")
            await asyncio.sleep(0.4)

    async def press(self, word: str, *shows: str, within: str = "body", seconds: float = 60) -> str:
        """Click once, as a person does: the first element that shows this text and can be clicked, as soon as it is there.

        Args:
            word: the whole text of the element.
            shows: what the page shows then.
            within: CSS selector of the part of the page to look in.
            seconds: how long each of both may take.

        Returns:
            The page's text after it.
        """
        click = f"""(() => {{
            const says = item => item.innerText?.trim() == {word!r};
            const all = [...document.querySelectorAll({within!r})].flatMap(part => [...part.querySelectorAll('*')]);
            const found = all.find(item => says(item) && ![...item.children].some(says)
                && item.offsetParent && !item.closest('[disabled], [aria-disabled=true]'));
            found?.scrollIntoView({{block: 'nearest'}});
            found?.click();
            return !!found;
        }})()"""
        until = time.monotonic() + seconds
        while not await self.evaluate(click):
            assert time.monotonic() < until, f"nothing to click says {word!r}: {(await self.text())[:1500]}"
            await asyncio.sleep(0.2)
        return await self.text_with(*shows, seconds=seconds)

    async def picture(self, path: Path) -> None:
        answer = await self._call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))


@asynccontextmanager
async def open_page(program: str) -> AsyncIterator[Page]:
    """A tab of a headless Chromium of our own."""
    profile = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = await asyncio.create_subprocess_exec(
        program, *CHROMIUM, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        port_file, until = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text(encoding="utf-8").count("\n")):
            assert process.returncode is None and time.monotonic() < until, "chromium does not start"
            await asyncio.sleep(0.1)
        port = port_file.read_text(encoding="utf-8").split("\n")[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                tabs = await response.json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Callable[[], AbstractAsyncContextManager[Page]]:
    """`async with browser() as page`: a headless Chromium of our own."""
    program = os.environ.get("GB_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        reason = "no chromium on this machine: install it, or name it with GB_CHROMIUM"
        if os.environ.get("GB_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{reason} (GB_REQUIRE_SERVICES=1)")
        pytest.skip(reason)
    return lambda: open_page(program)
