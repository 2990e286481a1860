"""`gb serve` as a real process: how it ends, what is killed, what is slow, and many who ask at once."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline import Lake, RemoteLake
from gb_pipeline.cli.app import run
from gb_pipeline_tests.serving import Server, children_of, make_token, minutes, serving, start_server

# So large that no buffer between here and there holds it.
_DAYS = 120
DOCUMENT = json.dumps({"symbols": ["BTC-USD"], "resolution": "1m", "format": "arrow"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large") / "data"
    lake = Lake.open(root, create=True)
    lake.put(minutes("2024-01-01", 1440 * _DAYS), source="sim", resolution="1m", symbol="BTC-USD")
    return root


@pytest.fixture(scope="module")
def token(root: Path) -> str:
    return make_token(root)


@pytest.fixture(scope="module")
def server(root: Path, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)


def headers(token: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json", **more}


def test_a_download_that_runs_ends_whole_after_sigterm_and_nothing_new_begins(
    root: Path, token: str, tmp_path: Path
) -> None:
    server = start_server(root, tmp_path)
    connection = connect(server)
    connection.request("POST", "/v1/bars", DOCUMENT, headers(token))
    response = connection.getresponse()
    begin = response.read(1 << 16)
    server.process.send_signal(signal.SIGTERM)
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), 1).close()
        except OSError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("it still lets somebody in")
    assert server.process.poll() is None, "it waits for the download"
    table = pa.ipc.open_stream(begin + response.read()).read_all()
    connection.close()
    assert table.num_rows == 1440 * _DAYS
    assert server.process.wait(60) == 0


def test_a_reader_who_waits_holds_no_more_than_some_pieces_in_the_server(
    root: Path, token: str, server: Server
) -> None:
    def memory() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
        return int(status.partition("VmRSS:")[2].split()[0])

    with RemoteLake(server.url, token) as lake:
        lake.bars("BTC-USD", "1m", "2024-01-01", "2024-01-03")
    before, waiting = memory(), []
    for _ in range(3):
        connection = connect(server)
        connection.request("POST", "/v1/bars", DOCUMENT, headers(token))
        response = connection.getresponse()
        response.read(1000)
        waiting.append(connection)
    time.sleep(0.2)
    grown = memory() - before
    for connection in waiting:
        connection.close()
    assert grown < 400_000, f"{grown} kB"


def test_an_upload_goes_on_after_the_server_was_killed(root: Path, token: str, tmp_path: Path) -> None:
    body = io.BytesIO()
    minutes("2024-06-01", 3000).write_csv(body)
    content = body.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    bars = {"source": "up", "resolution": "1m", "symbol": "SOL-USD", "format": "csv"}
    announced = json.dumps({"length": len(content), "sha256": digest, **bars})
    server = start_server(root, tmp_path)
    connection = connect(server)
    connection.request("POST", "/v1/uploads", announced, headers(token, **{"idempotency-key": "killed"}))
    path = f"/v1/uploads/{json.loads(connection.getresponse().read())['id']}"
    connection.close()
    # Half of a part is on its way when the process dies.
    raw = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), 30)
    lines = [
        f"PATCH {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", "Upload-Offset: 0",
        "Content-Type: application/offset+octet-stream", f"Content-Length: {len(content)}", "", "",
    ]  # fmt: skip
    raw.sendall("\r\n".join(lines).encode() + content[: len(content) // 2])
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    raw.close()
    with serving(root, tmp_path) as again:
        connection = connect(again)
        connection.request("HEAD", path, headers=headers(token))
        response = connection.getresponse()
        response.read()
        offset = int(response.getheader("upload-offset") or -1)
        assert 0 <= offset <= len(content) // 2
        part = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
        checksum = base64.b64encode(hashlib.sha256(content[offset:]).digest()).decode()
        part["upload-checksum"] = f"sha256 {checksum}"
        connection.request("PATCH", path, content[offset:], headers(token) | part)
        response = connection.getresponse()
        assert (response.status, response.read()) == (204, b"")
        connection.request("POST", f"{path}/commit", headers=headers(token))
        assert json.loads(connection.getresponse().read())["result"]["stored"] == 3000
        connection.close()
    assert Lake.open(root).bars("SOL-USD", "1m", source="up").height == 3000


def test_a_body_that_does_not_come_is_given_up(root: Path, token: str, server: Server) -> None:
    """The limit is a minute in earnest; the guard's own is shortened by the options of a server in this process."""
    import asyncio

    from gb_pipeline.api.app import build_app
    from gb_pipeline.api.options import ServeOptions

    app, told = build_app(Lake.open(root), ServeOptions(body_seconds=0.05)), []

    async def silence() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        told.append(message)

    sent = [
        (b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json"),
        (b"content-length", b"10"),
    ]  # fmt: skip
    scope = {
        "type": "http", "method": "POST", "path": "/v1/bars", "raw_path": b"/v1/bars", "query_string": b"", "headers": sent,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    asyncio.run(app(scope, silence, send))
    assert told[0]["status"] == 408 and json.loads(told[1]["body"])["kind"] == "TooSlow"


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /v1/../../../etc/passwd HTTP/1.1", b"GET /page/../../etc/passwd HTTP/1.1",
        b"GET /page/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        b"GET /v1/uploads/%2e%2e%2f HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET http://evil.example/v1/symbols HTTP/1.1",
        b"TRACE /v1/symbols HTTP/1.1", b"GET /v1/symbols HTTP/9.9", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)  # fmt: skip
def test_hostile_lines_get_no_file_and_end_nothing(server: Server, token: str, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), 30) as raw:
        raw.sendall(request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        while block := raw.recv(1 << 16):
            answer += block
    assert b"root:" not in answer and (not answer or b" 200 " not in answer.split(b"\r\n")[0])
    with RemoteLake(server.url, token) as lake:
        assert lake.symbols().height


def crowd(server: Server, token: str, seconds: float, clients: int = 32) -> tuple[int, list[str]]:
    """How many questions were answered by so many clients at once, and every error."""
    ends = time.monotonic() + seconds
    answered, wrong = [0] * clients, []
    expected = RemoteLake(server.url, token).bars("BTC-USD", "1m", "2024-01-02", "2024-01-03")

    def one(number: int) -> None:
        questions = [
            lambda lake: lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03").equals(expected),
            lambda lake: lake.coverage("sim").height > 0,
            lambda lake: lake.sql("select count(*) as n from symbol_data")["n"].item() > 0,
            lambda lake: lake.latest("BTC-USD", "1m").height > 0,
            lambda lake: lake.symbols().height > 0,
        ]
        with RemoteLake(server.url, token) as lake:
            while True:
                try:
                    if not questions[(number + answered[number]) % len(questions)](lake):
                        wrong.append("another answer")
                except Exception as error:
                    wrong.append(repr(error))
                answered[number] += 1
                if time.monotonic() > ends:
                    return

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))
    return sum(answered), wrong


@pytest.fixture
def generous(root: Path, token: str, tmp_path: Path) -> Iterator[Server]:
    with serving(root, tmp_path, "--requests-per-second", "100000") as running:
        yield running


def test_32_clients_at_once_get_no_error(generous: Server, token: str) -> None:
    answered, wrong = crowd(generous, token, 2)
    assert not wrong, wrong[:3]
    assert answered >= 32


@pytest.mark.long
def test_32_clients_for_a_minute_get_no_error(generous: Server, token: str) -> None:
    answered, wrong = crowd(generous, token, 60)
    print(f"{answered:,} questions in a minute")
    assert not wrong, wrong[:3]


def test_bars_are_read_while_others_are_uploaded(generous: Server, token: str) -> None:
    ends, wrong = threading.Event(), []

    def read() -> None:
        with RemoteLake(generous.url, token) as lake:
            while not ends.is_set():
                height = lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03").height
                if height != 1440:
                    wrong.append(height)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        with RemoteLake(generous.url, token) as lake:
            frame = pl.concat([minutes("2024-07-01", 100)])
            assert lake.put(frame, source="new", resolution="1m", symbol="ADA-USD").stored == 100
            assert lake.put(frame, source="new", resolution="1m", symbol="ADA-USD").stored == 0
    finally:
        ends.set()
        thread.join()
    assert not wrong


def test_an_address_that_others_reach_is_refused_without_a_token(tmp_path: Path, capsys: Any) -> None:
    Lake.open(tmp_path / "data", create=True)
    assert run(["serve", "--lake", str(tmp_path / "data"), "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "gb token create" in capsys.readouterr().err


ENDLESS = "select count(*) from range(100000000) a cross join range(100000000) b where a.range * b.range % 7 = 3"


def wait_for(holds: Any, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(holds())


def test_a_query_ends_when_whoever_asked_hangs_up(server: Server, token: str) -> None:
    def endings() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["path"] == "/v1/sql"]

    for path, sent in (("/v1/sql", json.dumps({"query": ENDLESS})), (f"/v1/sql?query={quote(ENDLESS)}", None)):
        ended, spent = len(endings()), processor_seconds(server)
        connection = connect(server)
        connection.request("GET" if sent is None else "POST", path, sent, headers(token))
        assert wait_for(lambda spent=spent: processor_seconds(server) > spent + 0.3), "the query runs"
        assert len(endings()) == ended
        connection.close()
        assert wait_for(lambda ended=ended: len(endings()) > ended)
        # Its own limit is half a minute.
        assert endings()[-1]["milliseconds"] < 29_000
    with RemoteLake(server.url, token) as lake:
        assert lake.sql("select 1 as one")["one"].item() == 1


def processor_seconds(server: Server) -> float:
    """Of the server and of the processes that it started."""
    pids = [server.process.pid, *children_of(server.process.pid)]
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() for pid in pids]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")
