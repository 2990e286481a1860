"""Credentials are removed from texts, and from what the client says and logs when a vendor repeats its key."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import NotEntitled, PermanentVendorError, RateLimited, TransientVendorError, VendorError
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.redaction import hide, scrub
from gb_pipeline.providers.http.responses import status_error
from gb_pipeline.providers.http.transport import Transport

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


@pytest.mark.parametrize(("path", "kind"), [
    ("401/x", NotEntitled), ("403/x", NotEntitled), ("404/x", PermanentVendorError), ("429/x", RateLimited),
    ("500/x", TransientVendorError), ("302/x", TransientVendorError), ("200/broken", TransientVendorError),
])  # fmt: skip
async def test_no_error_and_no_log_shows_the_key(
    vendor: str, path: str, kind: type[VendorError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = client(vendor, KEY)
    with pytest.raises(VendorError) as caught:
        await asked.get_json(f"https://api.acme.test/{path}", {"apikey": KEY, "symbol": "A"})
    await asked.aclose()
    assert type(caught.value) is kind
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


@given(secret=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12, max_size=40).map(lambda text: "S3" + text))
def test_credentials_do_not_get_through(secret: str) -> None:
    for text in (
        f"GET https://api.example.com/q?apikey={secret}&symbol=IBM",
        f"GET https://user:{secret}@api.example.com/q failed",
        f"https://api.example.com/q#{secret}",
        f"Authorization: Bearer {secret}",
        f'{{"api_key": "{secret}", "x": 1}}',
        f"signature={secret}&token={secret}",
    ):
        assert secret not in scrub(text)
        assert secret not in str(status_error("acme", 500, text))


@given(secrets=st.lists(st.text(min_size=4, max_size=30), min_size=1, max_size=3))
def test_a_secret_is_hidden_in_every_spelling(secrets: list[str]) -> None:
    for secret in secrets:
        spellings = (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
        for spelling in spellings:
            # Between characters that no secret of this alphabet can be continued by.
            assert "***" in hide(f"<{spelling}>", secrets)
            assert spelling.strip("*") == "" or spelling not in hide(spelling, secrets)


def test_a_secret_that_another_one_begins_with_does_not_leave_its_rest() -> None:
    assert hide("key abcd, secret ABCDEF", ["abcd", "abcdef"]) == "key ***, secret ***"
    assert hide("HTTP 404", ["4", ""]) == "HTTP 404"


def test_what_is_no_credential_stays() -> None:
    text = "GET https://api.example.com/v1/bars failed: BTC-USD, 3 of 5"
    assert scrub(text) == text


def test_an_explanation_that_repeats_a_credential_is_shown_without_it() -> None:
    error = status_error("acme", 401, '{"message": "unknown apikey=S3cr3tS3cr3t"}')
    assert "S3cr3t" not in str(error)
    assert "unknown apikey=***" in error.what
