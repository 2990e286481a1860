"""Credentials in gb.yaml: never shown, missed only when they are used, and read from the environment or `.env`."""

from __future__ import annotations

import copy
import os
import pickle
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from gb_pipeline.config.credentials import is_credential
from gb_pipeline.config.places import lake_address
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.errors import ConfigError

HIDDEN = "hunter2-Hunter2"
SOURCE = "    provider: csv\n    start: 2024-01-01\n    symbols: [A]\n"


def write(folder: Path, options: str, env: str | None = None) -> Path:
    other = f"  other:\n{SOURCE}    options: {{path: x.csv}}\n"
    (folder / "gb.yaml").write_text(f"sources:\n  s:\n{SOURCE}    options: {options}\n{other}", encoding="utf-8")
    if env is not None:
        (folder / ".env").write_text(env, encoding="utf-8")
        (folder / ".env").chmod(0o600)
    return folder


def source(folder: Path, options: str, env: str | None = None) -> SourceSettings:
    return Settings.load(write(folder, options, env)).source("s")


@pytest.mark.parametrize(
    ("name", "credential"),
    [
        ("key", True), ("api_key", True), ("apiKey", True), ("apikey", True), ("APIKey", True), ("secret", True),
        ("private-key", True), ("access_token", True), ("password", True), ("passphrase", True), ("KEY2", True), ("tokens", True),
        ("Authorization", True), ("monkey", False), ("keyboard", False), ("feed", False), ("base_url", False),
        ("keep_raw", False), ("timezone", False), ("tokenizer", False),
    ],
)  # fmt: skip
def test_a_name_decides_what_is_a_credential(name: str, credential: bool) -> None:
    assert is_credential(name) is credential


@pytest.mark.parametrize(
    "options", ['{key: "${GB_TEST_KEY}"}', f"{{key: {HIDDEN}}}", f"{{headers: {{X-Api-Key: {HIDDEN}}}, feed: x}}"]
)
def test_nothing_that_is_said_about_settings_shows_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    monkeypatch.setenv("GB_TEST_KEY", HIDDEN)
    settings = Settings.load(write(tmp_path, options))
    chosen = settings.source("s")
    said = [repr(settings), str(settings), f"{chosen.options}", settings.model_dump_json(), str(settings.model_dump())]
    assert HIDDEN not in " ".join(said)
    assert chosen.secrets == (HIDDEN,)
    assert HIDDEN not in repr(copy.deepcopy(chosen)) + repr(chosen.model_copy(update={"retries": 1}))
    assert pickle.loads(pickle.dumps(chosen)).variables == chosen.variables


def test_a_credential_is_opened_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_TEST_KEY", f" {HIDDEN}\n")
    text = '{key: "${GB_TEST_KEY}", secret: "a${GB_TEST_KEY}${GB_TEST_OTHER:-z}", headers: {Authorization: "Bearer q"}, token: 12}'
    chosen = source(tmp_path, text)
    assert chosen.credential("key") == HIDDEN
    assert chosen.credential("headers.Authorization") == "Bearer q"
    assert chosen.credential("token") == "12"
    assert chosen.variables == {
        "key": ("GB_TEST_KEY",), "secret": ("GB_TEST_KEY", "GB_TEST_OTHER"), "headers.Authorization": (), "token": (),
    }  # fmt: skip


def test_a_credential_that_is_not_set_is_missed_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GB_TEST_KEY", raising=False)
    settings = Settings.load(write(tmp_path, '{key: "x${GB_TEST_KEY}", secret: "${GB_TEST_KEY:-}", token: }'))
    assert settings.source("other").secrets == settings.source("s").secrets == ()
    for option in ("key", "secret"):
        with pytest.raises(ConfigError, match=rf"source s .* '{option}'.* GB_TEST_KEY is not set") as caught:
            settings.source("s").credential(option)
        assert ".env" in caught.value.fix
    for option in ("token", "password"):
        with pytest.raises(ConfigError, match=f"source s .* '{option}' is missing") as caught:
            settings.source("s").credential(option)
        assert f"${{S_{option.upper()}}}" in caught.value.fix


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "cl\u00e9", "\u201cquoted\u201d", "a\x00b"])
def test_what_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    chosen = SourceSettings(name="s", provider="csv", start="2024-01-01", symbols=["A"], options={"key": value})
    with pytest.raises(ConfigError, match="characters that no key has") as caught:
        chosen.credential("key")
    assert value not in "".join(traceback.format_exception(caught.value))


def test_settings_made_in_code_are_sealed_too() -> None:
    options = {"key": SecretStr(HIDDEN), "nested": [{"token": HIDDEN}]}
    chosen = SourceSettings(name="s", provider="csv", start="2024-01-01", symbols=["A"], options=options)
    assert HIDDEN not in repr(chosen)
    assert chosen.credential("key") == chosen.credential("nested.0.token") == HIDDEN


def test_variables_can_be_looked_up_again(tmp_path: Path) -> None:
    chosen = source(tmp_path, '{key: "${GB_TEST_KEY}", secret: literal, headers: {token: "Bearer ${GB_TEST_KEY}"}}')
    assert chosen.secrets == ("literal",)
    again = chosen.with_variables(lambda name: HIDDEN if name == "GB_TEST_KEY" else None)
    assert [again.credential(name) for name in ("key", "secret", "headers.token")] == [
        HIDDEN, "literal", f"Bearer {HIDDEN}",
    ]  # fmt: skip
    assert again.variables == chosen.variables
    assert again.with_variables(lambda _: None).secrets == ("literal",)


def test_dagsters_variable_in_settings_made_in_code_is_that_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import EnvVar

    options = {"key": EnvVar("GB_TEST_KEY")}
    chosen = SourceSettings(name="s", provider="csv", start="2024-01-01", symbols=["A"], options=options)
    with pytest.raises(ConfigError, match="GB_TEST_KEY is not set"):
        chosen.credential("key")
    monkeypatch.setenv("GB_TEST_KEY", HIDDEN)
    assert chosen.with_variables(os.environ.get).credential("key") == HIDDEN


def test_env_beside_gb_yaml_is_read_and_the_real_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GB_TEST_KEY", "real")
    monkeypatch.setenv("GB_TEST_EMPTY", "")
    for name in ("GB_TEST_FILE", "GB_LAKE"):
        monkeypatch.delenv(name, raising=False)
    env = "\ufeff# keys\nGB_TEST_KEY=file\nexport GB_TEST_FILE='a$b ${c} #d'  # comment\n\nGB_TEST_EMPTY=\"x\"\nGB_LAKE=deep/lake\n"
    folder = write(tmp_path, '{key: "${GB_TEST_KEY}", secret: "${GB_TEST_FILE}", token: "${GB_TEST_EMPTY}"}', env)
    chosen = Settings.load(folder).source("s")
    assert [chosen.credential(name) for name in ("key", "secret", "token")] == ["real", "a$b ${c} #d", "x"]
    assert lake_address(folder) == Settings.load(folder).lake == tmp_path / "deep" / "lake"
    assert "GB_TEST_FILE" not in os.environ


@pytest.mark.parametrize(
    ("env", "line"),
    [(f"A=1\n{HIDDEN}\n", 2), (f"\n\n'{HIDDEN}=1\n", 3), (f'A="{HIDDEN}\n', 1), (f"A=1\nB='x' {HIDDEN}", 2)],
)
def test_a_broken_line_of_env_is_named_and_not_shown(tmp_path: Path, env: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"\.env, line {line}: ") as caught:
        Settings.load(write(tmp_path, "{}", env))
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_an_env_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (write(tmp_path, "{}") / ".env").write_bytes(b"A=\xff\xfe")
    with pytest.raises(ConfigError, match=r"\.env cannot be read: it is not UTF-8"):
        Settings.load(tmp_path)


@pytest.mark.parametrize("value", [f"*{HIDDEN}", f"!{HIDDEN} x", f"'{HIDDEN}", f"{HIDDEN}: {HIDDEN}", f"@{HIDDEN}"])
def test_a_broken_gb_yaml_does_not_show_the_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(write(tmp_path, f"\n      key: {value}"))
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))
    assert "line" in caught.value.what


@pytest.mark.parametrize("misplaced", [f"    key: {HIDDEN}\n", f"    retries: {HIDDEN}\n", f"    symbols: {HIDDEN}\n"])
def test_a_credential_in_the_wrong_place_is_refused_without_showing_it(tmp_path: Path, misplaced: str) -> None:
    lines = [line for line in SOURCE.splitlines(keepends=True) if line.partition(":")[0] != misplaced.partition(":")[0]]
    (tmp_path / "gb.yaml").write_text(f"sources:\n  s:\n{''.join(lines)}{misplaced}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Settings.load(tmp_path)
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))
