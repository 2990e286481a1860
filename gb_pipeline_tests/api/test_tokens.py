"""Tokens: shown once, kept as hashes, valid until they expire or are revoked; and the commands that make them."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.api.tokens import Scope, TokenStore
from gb_pipeline.cli.app import run
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline_tests.bars import SetClock

NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)


def test_only_a_hash_is_stored_and_only_the_owner_reads_the_file(tmp_path: Path) -> None:
    token, text = TokenStore(tmp_path).create("one", ["read", "sql", "read"])
    file = tmp_path / "api" / "tokens.json"
    assert token.scopes == (Scope.READ, Scope.SQL)
    assert text.split("_", 2)[2] not in file.read_text(encoding="utf-8") and token.id in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_token_is_found_by_its_whole_text_until_it_expires(tmp_path: Path) -> None:
    clock = SetClock(NOON)
    tokens = TokenStore(tmp_path, clock=clock)
    token, text = tokens.create("one", ["read"], expires=NOON + timedelta(hours=1))
    assert tokens.find(text) == token
    for wrong in (text[:-1], text + "x", text.upper(), text.replace("gb_", "xx_"), "", "_", f"gb_{token.id}_", "gb__"):
        assert tokens.find(wrong) is None
    clock.now = NOON + timedelta(hours=1)
    assert tokens.find(text) is None and not tokens.any_valid() and tokens.in_use


def test_another_process_revokes_what_this_one_knows(tmp_path: Path) -> None:
    here, there = TokenStore(tmp_path), TokenStore(tmp_path)
    token, text = there.create("one", ["read"])
    assert here.find(text) == token
    assert there.revoke(token.id) == there.revoke(token.id)
    assert here.find(text) is None and here.list()[0].revoked is not None


def test_tokens_that_are_made_at_once_are_all_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: TokenStore(tmp_path).create(str(number), ["read"])[0].id, range(24)))
    assert sorted(token.id for token in TokenStore(tmp_path).list()) == sorted(made)


@pytest.mark.parametrize(
    ("name", "scopes", "expires"),
    [
        ("one", [], None),
        ("one", ["root"], None),
        (" ", ["read"], None),
        ("a\nb", ["read"], None),
        ("one", ["read"], NOON),
    ],
)
def test_unusable_tokens_are_not_made(tmp_path: Path, name: str, scopes: list[str], expires: datetime | None) -> None:
    tokens = TokenStore(tmp_path, clock=SetClock(NOON))
    with pytest.raises(ConfigError):
        tokens.create(name, scopes, expires=expires)
    assert tokens.list() == []


def test_a_broken_file_lets_nobody_in(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path)
    _, text = tokens.create("one", ["read"])
    (tmp_path / "api" / "tokens.json").write_text("{", encoding="utf-8")
    with pytest.raises(LakeError, match=r"tokens\.json"):
        tokens.find(text)


def test_commands_make_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Lake.open(tmp_path / "data", create=True)
    where = ["--lake", str(tmp_path / "data")]
    assert run(["token", "list", *where]) == 0
    assert run(["token", "create", "mine", "--scope", "read", "--scope", "write", "--expires", "+9d", *where]) == 0
    text = capsys.readouterr().out.strip()
    tokens = TokenStore(tmp_path / "data" / "state")
    token = tokens.find(text)
    assert token is not None and token.may(Scope.WRITE) and not token.may(Scope.SQL) and token.expires is not None
    assert run(["token", "revoke", token.id, *where]) == 0
    capsys.readouterr()
    assert run(["token", "list", "--json", *where]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["state"]) for row in listed] == [(token.id, "revoked")]
    assert "hash" not in listed[0] and tokens.find(text) is None
    assert run(["token", "revoke", "nobody", *where]) == 2
    assert run(["token", "create", "mine", "--scope", "root", *where]) == 2
