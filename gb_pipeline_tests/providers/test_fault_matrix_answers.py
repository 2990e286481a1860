"""Answers that are none, from every vendor: exact data or a typed error, never an empty or partial answer taken for truth.

Each vendor reads statuses and bodies in its own way, so each is given all of them. What happens to connections is in
`test_fault_matrix`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from gb_pipeline.errors import NotEntitled, PermanentVendorError, RateLimited, TransientVendorError
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.matrix import ALL, Hurt, Trouble
from gb_pipeline_tests.providers.vendors import VENDORS, Vendor

ANSWERS = {
    "429 in seconds": Trouble({"status": 429, "headers": {"Retry-After": "0"}}, RateLimited),
    "429 until a date": Trouble(
        {"status": 429, "headers": {"Retry-After": format_datetime(datetime(2024, 1, 1, tzinfo=UTC), usegmt=True)}},
        RateLimited,
    ),
    "429 without a time": Trouble({"status": 429}, RateLimited),
    "418": Trouble({"status": 418, "headers": {"Retry-After": "0"}}, RateLimited),
    "401": Trouble({"status": 401}, NotEntitled, passes=False),
    "403": Trouble({"status": 403}, NotEntitled, passes=False),
    "451": Trouble({"status": 451}, PermanentVendorError, passes=False),
    "500": Trouble({"status": 500}),
    "503": Trouble({"status": 503}),
    "html with 200": Trouble({"body": "<html><body>Be right back</body></html>"}),
    "html with 503": Trouble({"body": "<html><body>Be right back</body></html>", "status": 503}),
    "truncated json": Trouble({"action": "cut"}),
    "an empty body": Trouble({"body": ""}),
    "null": Trouble({"body": "null"}),
    "an empty list": Trouble({"body": "[[]]"}),
    "an unknown object": Trouble({"body": '{"maintenance":true}'}),
}


@pytest.fixture(scope="module", params=ALL)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


@pytest.fixture(scope="module")
def answers(vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Hurt:
    return Hurt(ANSWERS, vendor, running, tmp_path_factory.mktemp(vendor.name))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_an_error_and_what_passes_leaves_exact_data(answers: Hurt, name: str) -> None:
    answers.check(name)


@pytest.fixture(scope="module")
def refusals(vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Hurt:
    troubles = {
        body: Trouble({"body": body}, kind, passes=issubclass(kind, TransientVendorError))
        for body, kind in vendor.errors
    }
    return Hurt(troubles, vendor, running, tmp_path_factory.mktemp(vendor.name))


@pytest.mark.parametrize(
    ("vendor", "body"),
    [
        pytest.param(vendor, body, id=f"{vendor.name}-{at}")
        for vendor in VENDORS
        for at, (body, _) in enumerate(vendor.errors)
    ],
    indirect=["vendor"],
)
def test_errors_with_a_good_status_are_errors(refusals: Hurt, body: str) -> None:
    refusals.check(body)
