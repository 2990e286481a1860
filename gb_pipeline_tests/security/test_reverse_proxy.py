"""The page behind a real nginx with the shipped settings: nobody without a login and TLS, everything with them."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import pytest
import yaml

from gb_pipeline.dagster_runtime.instance import Stack, find_free_port

pytestmark = pytest.mark.e2e

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
LOGIN = ("ann", "PLANTED-page-password")


@dataclass(frozen=True)
class Proxy:
    """The address of nginx, what it trusts, and the page behind it."""

    port: int
    trust: ssl.SSLContext
    stack: Stack

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, auth: tuple[str, str] | None = LOGIN) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.trust, auth=auth, trust_env=False, timeout=30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("nginx is not installed")
    folder = tmp_path_factory.mktemp("proxied")
    source = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}
    (folder / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": source}}), encoding="utf-8")
    stack, port = Stack(folder), find_free_port()
    settings = write_settings(folder, port, stack.port)
    try:
        stack.start(daemon=False)
        with subprocess.Popen([program, "-c", str(settings), "-e", str(folder / "errors.log")]) as process:
            try:
                found = Proxy(port, ssl.create_default_context(cafile=str(folder / "page.pem")), stack)
                wait_until_it_answers(found, process)
                yield found
            finally:
                process.terminate()
                process.wait(30)
    finally:
        stack.stop()


def write_settings(folder: Path, port: int, page: int) -> Path:
    """The shipped file with the places of this machine, inside of what nginx needs around it."""
    make_certificate(folder)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", LOGIN[1]], check=True, capture_output=True, text=True)
    (folder / "users").write_text(f"{LOGIN[0]}:{hashed.stdout}", encoding="utf-8")
    text = SHIPPED.read_text(encoding="utf-8")
    for there, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/gb_pipeline/page.pem", str(folder / "page.pem")),
        ("/etc/ssl/gb_pipeline/page.key", str(folder / "page.key")),
        ("/etc/nginx/gb_pipeline.users", str(folder / "users")),
        ("data.example.com", "localhost"),
        ("http://127.0.0.1:3000", f"http://127.0.0.1:{page}"),
    ):
        assert there in text
        text = text.replace(there, here)
    places = "".join(
        f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = (
        f"daemon off; worker_processes 1; {'user root;' if os.geteuid() == 0 else ''} pid {folder / 'nginx.pid'};"
        f" error_log {folder / 'errors.log'}; events {{}}\n"
        f"http {{ access_log {folder / 'access.log'}; {places}\n{text}\n}}\n"
    )
    (folder / "nginx.conf").write_text(whole, encoding="utf-8")
    return folder / "nginx.conf"


def make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "page.key"),
               "-out", str(folder / "page.pem")]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def wait_until_it_answers(found: Proxy, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    with found.client() as client:
        while True:
            try:
                client.get("/server_info").raise_for_status()
            except httpx.HTTPError as error:
                assert process.poll() is None and time.monotonic() < until, error
                time.sleep(0.1)
            else:
                return


@pytest.mark.parametrize("auth", [None, ("ann", "guessed"), ("bob", LOGIN[1])], ids=["nobody", "guessed", "unknown"])
@pytest.mark.parametrize("path", ["/", "/graphql", "/server_info", "/report_asset_materialization/x"])
def test_nothing_is_shown_without_a_login(proxy: Proxy, auth: tuple[str, str] | None, path: str) -> None:
    with proxy.client(auth) as client:
        answers = [client.get(path), client.post(path, json={"query": "{ version }"})]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert "dagster" not in answers[0].text.lower()


def test_with_a_login_the_page_and_its_questions_pass(proxy: Proxy) -> None:
    with proxy.client() as client:
        page, answer = client.get("/"), client.post("/graphql", json={"query": "{ assetNodes { id } }"})

    assert page.status_code == 200 and "<html" in page.text
    assert page.headers["strict-transport-security"]
    assert answer.json()["data"]["assetNodes"]


async def test_live_events_come_through_its_websocket(proxy: Proxy) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(*LOGIN)}) as session,
        session.ws_connect(f"{proxy.url}/graphql", protocols=["graphql-ws"], ssl=proxy.trust) as socket,
    ):
        await socket.send_json({"type": "connection_init", "payload": {}})
        answer = json.loads((await socket.receive(timeout=30)).data)

    assert answer["type"] == "connection_ack"


async def test_a_websocket_without_a_login_is_refused(proxy: Proxy) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{proxy.url}/graphql", protocols=["graphql-ws"], ssl=proxy.trust)

    assert refused.value.status == 401


def test_plain_http_gets_nothing(proxy: Proxy) -> None:
    answer = httpx.get(f"http://localhost:{proxy.port}/", auth=LOGIN, trust_env=False)

    assert answer.status_code == 400


def test_the_page_itself_listens_on_loopback_alone(proxy: Proxy) -> None:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    listening = {local for _, local, _, state, *_ in lines if state == "0A"}
    port = f":{proxy.stack.port:04X}"

    assert {local for local in listening if local.endswith(port)} == {f"0100007F{port}"}
    assert not [line for line in Path("/proc/net/tcp6").read_text(encoding="utf-8").splitlines() if port in line]
