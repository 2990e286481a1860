"""Downloads whose connection is cut in the middle go on where they were, and are the bars of the moment that they began at."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn
from polars.testing import assert_frame_equal

from gb_pipeline import Lake, RemoteLake
from gb_pipeline.api.app import build_app
from gb_pipeline.api.downloads import moment_of
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.errors import ServerUnavailable
from gb_pipeline.market.window import Window
from gb_pipeline_tests.serving import minutes

DAYS = 8
QUESTION = {"symbols": ["BTC-USD"], "resolution": "1m", "format": "arrow"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("cut") / "data", create=True)
    lake.put(minutes("2024-01-01", 1440 * DAYS), source="sim", resolution="1m", symbol="BTC-USD")
    return lake


@pytest.fixture(scope="module")
def address(lake: Lake) -> Iterator[tuple[str, int]]:
    """A server that sends a day as a piece."""
    listener = socket.create_server(("127.0.0.1", 0))
    options = ServeOptions(piece_rows=1440, requests_per_second=10_000)
    server = uvicorn.Server(uvicorn.Config(build_app(lake, options), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


class Cutter:
    """A way to a server on which each connection breaks after so many bytes of answers; the last of them counts from then on."""

    def __init__(self, server: tuple[str, int], cuts: list[int | None]) -> None:
        self._server, self._cuts = server, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []
        self.between: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            cut = self._cuts.pop(0) if len(self._cuts) > 1 else self._cuts[0]
            with near, socket.create_connection(self._server) as far:
                self._carry(near, far, cut)
            if self.between is not None and len(self.answers) == 1:
                self.between()

    def _carry(self, near: socket.socket, far: socket.socket, cut: int | None) -> None:
        def ask() -> None:
            while block := near.recv(1 << 16):
                self.requests.append(block)
                far.sendall(block)
            far.shutdown(socket.SHUT_WR)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        sent = b""
        while cut is None or len(sent) < cut:
            block = far.recv(1 << 14)
            if not block:
                break
            near.sendall(block)
            sent += block
        self.answers.append(sent)
        near.shutdown(socket.SHUT_RDWR)
        asking.join()

    def close(self) -> None:
        """End, once whoever came through here has hung up."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture(scope="module")
def size(address: tuple[str, int]) -> int:
    """Of the whole answer in bytes."""
    return len(ask(address, QUESTION)[2])


@pytest.fixture
def cutting(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("gb_pipeline.client.transport._FIRST_PAUSE", 0.0)
    made: list[Cutter] = []

    def cut(*after: int | None) -> Cutter:
        made.append(Cutter(address, list(after)))
        return made[-1]

    yield cut
    for one in made:
        one.close()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_a_download_that_was_cut_goes_on_and_has_every_row_once(
    lake: Lake, cutting: Any, size: int, share: float
) -> None:
    whole = lake.bars("BTC-USD", "1m", source="sim")
    way = cutting(int(size * share), None)
    with RemoteLake(way.url) as far:
        assert_frame_equal(far.bars("BTC-USD", "1m", source="sim"), whole)
    way.close()
    assert len(way.answers) == 2
    if share > 0.2:
        assert b"if-range" in b"".join(way.requests).lower() and b" 206 " in way.answers[1][:20]
        assert len(way.answers[1]) < size * (1.25 - share), "what had arrived is not sent again"


def test_a_download_that_is_cut_often_ends_as_long_as_more_arrives_each_time(
    lake: Lake, cutting: Any, size: int
) -> None:
    whole = lake.bars("BTC-USD", "1m", source="sim")
    way = cutting(int(size / DAYS * 1.5))
    with RemoteLake(way.url) as far:
        assert_frame_equal(far.bars("BTC-USD", "1m", source="sim"), whole)
    way.close()
    assert len(way.answers) > 4


def test_one_that_never_gets_further_is_given_up(cutting: Any) -> None:
    way = cutting(2000)
    with RemoteLake(way.url) as far, pytest.raises(ServerUnavailable, match="broke off"):
        far.bars("BTC-USD", "1m", source="sim")


def test_what_is_stored_meanwhile_is_not_mixed_in(lake: Lake, cutting: Any, size: int) -> None:
    whole = lake.bars("BTC-USD", "1m", source="sim")
    way = cutting(size // 2, None)
    changed = minutes("2024-01-08", 1440, base=500)
    window = Window.of("2024-01-08", "2024-01-09")
    way.between = lambda: lake.put(changed, source="sim", resolution="1m", symbol="BTC-USD", window=window)
    with RemoteLake(way.url) as far:
        found = far.bars("BTC-USD", "1m", source="sim")
    way.close()
    assert_frame_equal(found, whole)
    assert b" 206 " in way.answers[1][:20]
    assert not lake.bars("BTC-USD", "1m", source="sim").equals(whole)


def ask(address: tuple[str, int], question: dict[str, Any], **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(*address, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/v1/bars", json.dumps(question), {"content-type": "application/json", **given})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, body


def test_the_headers_are_those_of_http(address: tuple[str, int]) -> None:
    status, headers, body = ask(address, QUESTION)
    tag, table = headers["etag"], pa.ipc.open_stream(body).read_all()
    assert (status, headers["accept-ranges"], headers["x-pieces"]) == (200, "pieces", str(DAYS))
    assert moment_of(tag) is not None
    status, headers, body = ask(address, QUESTION, range="pieces=5-", if_range=tag)
    assert (status, headers["content-range"]) == (206, f"pieces 5-{DAYS - 1}/{DAYS}")
    assert pa.ipc.open_stream(body).read_all().equals(table.slice(5 * 1440))
    status, headers, body = ask(address, QUESTION, range=f"pieces={DAYS}-", if_range=tag)
    assert (status, headers["content-range"]) == (416, f"pieces */{DAYS}") and json.loads(body)["kind"] == "NoSuchPiece"
    others = (
        {"range": "pieces=5-"}, {"range": "bytes=5-", "if_range": tag}, {"range": "pieces=5-", "if_range": '"x"'},
        {"range": "pieces=5-", "if_range": f'"{"0" * 32}.{"9" * 17}"'}, {"range": "pieces=-5", "if_range": tag},
    )  # fmt: skip
    for given in others:
        assert ask(address, QUESTION, **given)[0] == 200, given
    # Another question has other pieces.
    assert ask(address, {**QUESTION, "as_float": True}, range="pieces=5-", if_range=tag)[0] == 200
    # What depends on the present has no tag.
    assert "etag" not in ask(address, {**QUESTION, "settled_only": True})[1]


def test_a_tag_that_was_made_up_is_none(tmp_path: Path) -> None:
    assert [moment_of(tag) for tag in ("", "x", '"0.1"', f'"{"0" * 32}.{"9" * 18}"')] == [None] * 4
