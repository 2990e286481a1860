"""What the strict client says, logs and reads when a vendor repeats the key that it was asked with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from gb_pipeline.errors import NotEntitled, TransientVendorError, VendorError
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.transport import Policy, Transport

KEY = "plan7+ted/Key="


class Echo(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with and everything that it was sent."""

    def do_GET(self) -> None:
        host, status, kind = self.path.partition("?")[0].strip("/").split("/")
        body = f'{{"price": 1234.5, "says": "{self.path} {self.headers["Authorization"]}"}}'
        if kind == "broken":
            body = f"<html>{body}"
        self.send_response(int(status))
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", f"https://{host}/?apikey={KEY}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def client(url: str, *secrets: str) -> HttpClient:
    policy = Policy(retries=0, timeout=10)
    headers = {"Authorization": f"Bearer {KEY}"}
    return HttpClient("acme", Transport("acme", policy), base_url=url, headers=headers, secrets=secrets)


@pytest.mark.parametrize("path", ["401/x", "403/x", "404/x", "429/x", "500/x", "302/x", "200/broken"])
async def test_no_error_and_no_log_shows_the_key(vendor: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asked = client(vendor, KEY)
    with pytest.raises(VendorError) as caught:
        await asked.get_json(f"https://api.acme.test/{path}", {"apikey": KEY, "symbol": "A"})
    await asked.aclose()
    assert isinstance(caught.value, NotEntitled if path in {"401/x", "403/x"} else VendorError)
    said = str(caught.value) + caplog.text
    assert "HTTP Request" in said
    for form in (KEY, "plan7%2Bted%2FKey%3D", "plan7+ted%2FKey"):
        assert form.lower() not in said.lower()


async def test_an_error_that_a_provider_makes_of_the_vendors_words_does_not_say_the_key(
    vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = HttpClient("acme", transport := Transport("acme", Policy(retries=1, shortest_wait=0.01)), base_url=vendor,
                       headers={"Authorization": f"Bearer {KEY}"}, secrets=[KEY])  # fmt: skip

    async def ask() -> None:
        value, _ = await asked.get_json("https://api.acme.test/200/x")
        raise TransientVendorError(f"acme says: {value['says']}", fix=value["says"])

    with pytest.raises(TransientVendorError) as caught:
        await transport.call(ask)
    await asked.aclose()
    assert "acme says" in caplog.text
    assert "acme says" in str(caught.value)
    assert KEY not in caplog.text + str(caught.value) + repr(caught.value)


async def test_a_short_key_does_not_change_the_vendors_numbers(vendor: str) -> None:
    asked = client(vendor, "1234")
    value, _ = await asked.get_json("https://api.acme.test/200/x")
    await asked.aclose()
    assert value["price"] == "1234.5"


async def test_a_vendor_that_is_not_there_is_named_without_the_query() -> None:
    asked = client("http://127.0.0.1:9", KEY)
    with pytest.raises(TransientVendorError) as caught:
        await asked.get_json("https://api.acme.test/200/x", {"apikey": KEY})
    await asked.aclose()
    assert "plan7" not in str(caught.value)
