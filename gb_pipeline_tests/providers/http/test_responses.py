"""Statuses, headers and bodies, and which error each becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gb_pipeline.errors import NotEntitled, PermanentVendorError, RateLimited, TransientVendorError, VendorError
from gb_pipeline.providers.http.responses import read_json, retry_after, status_error

NOW = datetime(2024, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(("status", "kind"), [
    (400, PermanentVendorError), (401, NotEntitled), (402, NotEntitled), (403, NotEntitled), (404, PermanentVendorError),
    (408, TransientVendorError), (410, PermanentVendorError), (418, RateLimited), (422, PermanentVendorError),
    (425, TransientVendorError), (429, RateLimited), (451, PermanentVendorError), (500, TransientVendorError),
    (502, TransientVendorError), (503, TransientVendorError), (520, TransientVendorError), (599, TransientVendorError),
])  # fmt: skip
def test_a_status_says_whether_asking_again_helps(status: int, kind: type[VendorError]) -> None:
    error = status_error("acme", status, "<html>busy</html>")
    assert type(error) is kind
    assert f"HTTP {status}" in error.what
    assert "busy" in error.what
    assert error.fix


@pytest.mark.parametrize(("header", "seconds"), [
    ("0", 0), ("3", 3), (" 1.5 ", 1.5), ("-4", 0), (None, None), ("", None), ("soon", None), ("nan", None), ("inf", None),
    (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90), (format_datetime(NOW - timedelta(days=1)), 0),
    ("Tue, 99 Jan 2024 12:00:00 GMT", None), ("9" * 400, None),
])  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOW) == seconds


@pytest.mark.parametrize("body", [
    "", " ", "<html><body>busy</body></html>", "[[1, 2", '{"a": [1, 2]', '"text"', "null", "3", "NaN", "[NaN]", "[Infinity]",
    "\x00", "[1] trailing", "[1]\n[2]", "[" * 100_000,
])  # fmt: skip
def test_whatever_is_no_whole_json_object_or_list_is_an_error(body: str) -> None:
    with pytest.raises(TransientVendorError, match="HTTP 200 with text/html"):
        read_json("acme", 200, "text/html", body)


def test_numbers_keep_the_vendors_digits() -> None:
    assert read_json("acme", 200, "", '{"a":[0.10,1e-8,12345678901234567.891,7,-0.0]}') == {
        "a": ["0.10", "1e-8", "12345678901234567.891", 7, "-0.0"]
    }


@pytest.mark.parametrize("name", ["message", "error"])
def test_a_vendors_own_explanation_is_shown_whole(name: str) -> None:
    words = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://example.com/pricing"
    body = json.dumps({"status": "NOT_AUTHORIZED", "request_id": "0" * 32, name: words})
    assert words in status_error("acme", 403, body).what
