"""What a store says when something is wrong is told as it says it, and no error of a library gets out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gb_pipeline.cli.app import run
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import bucket_files
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Request, Store
from gb_pipeline_tests.s3.test_lake import volumes, write


def error(code: str, says: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{says}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        ("400 Bad Request", error("ExpiredToken", "The provided token has expired."), "token has expired"),
        ("403 Forbidden", error("RequestTimeTooSkewed", "The difference is too large."), "difference is too large"),
        ("400 Bad Request", error("AuthorizationHeaderMalformed", "expecting 'eu-west-1'"), "expecting 'eu-west-1'"),
        ("404 Not Found", error("NoSuchBucket", "The specified bucket does not exist"), "there is no bucket bars-"),
        ("200 OK", error("InternalError", "Try again."), "a page of HTML or XML"),
        ("200 OK", b"<html>log in to this network</html>", "a page of HTML or XML"),
    ],
)
def test_what_a_store_says_is_told(
    machine: Machine, server: Store, monkeypatch: pytest.MonkeyPatch, status: str, body: bytes, told: str
) -> None:
    monkeypatch.setattr(bucket_files, "ATTEMPTS", 1)
    write(machine("a"), 1)
    server.says = lambda _: (status, body, len(body))
    for act in (lambda: write(machine("b"), 2), lambda: volumes(machine("c")), lambda: machine("d").storage.exists):
        with pytest.raises(LakeError, match=told):
            assert act()
            machine("d").storage.refuse_other_format()
    server.heal()
    assert volumes(machine("e")) == [1]


def test_a_body_that_ends_too_early_again_and_again_is_an_error(machine: Machine, server: Store) -> None:
    write(machine("a"), 1)
    left = 3

    def cut(request: Request) -> tuple[str, bytes, int] | None:
        nonlocal left
        left -= request.method == "GET"
        return ("200 OK", b"{", 14) if request.method == "GET" and left >= 0 else None

    server.says = cut
    with pytest.raises(LakeError, match="does not answer as it should"):
        volumes(machine("b"))
    assert left <= 1
    server.heal()
    assert volumes(machine("b")) == [1]


def test_a_store_that_does_not_know_the_condition_is_refused(machine: Machine, server: Store) -> None:
    unknown = error("NotImplemented", "A header you provided implies functionality that is not implemented")
    server.says = lambda request: (
        ("501 Not Implemented", unknown, len(unknown))
        if (request.method, request.name) == ("PUT", "lake/gb_lake.json")
        else None
    )
    with pytest.raises(LakeError, match="ignores the condition"):
        write(machine("a"), 1)


def test_a_bucket_that_the_environment_names_is_reached_as_gb_yaml_says(
    machine: Machine, server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("a")
    write(store, 1)
    bucket = store.storage.root
    (tmp_path / "gb.yaml").write_text(
        f"lake: data\ns3: {{endpoint: '{server.url}', region: us-east-1, access_key_id: a, secret_access_key: b}}\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run(["fingerprint", "--lake", str(bucket)]) == 0
    monkeypatch.setenv("GB_LAKE", str(bucket))
    assert run(["fingerprint"]) == 0
    assert Lake.open().symbols().height == 1


def test_places_in_one_another_are_no_copies_of_each_other(machine: Machine, tmp_path: Path) -> None:
    from gb_pipeline.lake.backup import CopyRefused, plan_copy

    store = machine("a")
    inner = LakeStore.at(replace(store.storage.root, prefix="lake/inner"), state=tmp_path / "inner")  # type: ignore[type-var]
    with pytest.raises(CopyRefused, match="lie in one another"):
        plan_copy(store, inner)
