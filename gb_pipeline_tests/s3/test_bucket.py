"""Addresses in an object store: what is one, how it is reached, and that no credential is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.address import Storage

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had ever used AWS on this machine."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)


@pytest.mark.parametrize(
    "address",
    ["s3://", "s3://a", "s3://UPPER/x", "s3://bars/../other", "s3://bars/a//b", "s3://bars/a b", "s3://bars/a?b=c",
     "s3://key:secret@bars/x", "s3://bars/a\nb", "s3://bars/ä", "s3://-bars/x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bucket.parse(address)
    assert "secret" not in str(caught.value)


def test_an_address_is_text_without_credentials() -> None:
    bucket = Bucket.parse(
        "s3://bars/deep/lake/", {"access_key_id": "me", "secret_access_key": SECRET, "endpoint": "http://127.0.0.1:9"}
    )
    assert str(bucket) == "s3://bars/deep/lake"
    assert SECRET not in repr(bucket) + repr(Storage.at(bucket))
    assert bucket.default_state == Bucket.parse("s3://bars/deep/lake", {"endpoint": "http://127.0.0.1:9"}).default_state
    assert bucket.default_state != Bucket.parse("s3://bars/deep/lake").default_state


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"endpont": "https://x"}, "endpoint"),
        ({"endpoint": "ftp://x"}, "http"),
        ({"endpoint": f"https://me:{SECRET}@host"}, "http"),
        ({"access_key_id": "me"}, "AWS_SECRET_ACCESS_KEY"),
        ({"secret_access_key": SECRET}, "AWS_ACCESS_KEY_ID"),
        ({"region": 7}, "quotes"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Bucket.parse("s3://bars/lake", settings)
    assert says in caught.value.fix
    assert SECRET not in str(caught.value)


def project(folder: Path, text: str) -> Path:
    (folder / "gb.yaml").write_text(f"{text}\nsources: {{}}\n", encoding="utf-8")
    return folder


def test_gb_yaml_says_how_a_bucket_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_SECRET", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    lines = [
        "lake: s3://bars/lake", "s3:", "  endpoint: http://127.0.0.1:9000", "  access_key_id: me",
        '  secret_access_key: "${MINIO_SECRET}"',
    ]  # fmt: skip
    settings = Settings.load(project(tmp_path, "\n".join(lines)))
    lake = settings.lake
    assert isinstance(lake, Bucket)
    assert (lake.endpoint, lake.region, lake.access_key_id) == ("http://127.0.0.1:9000", "eu-central-1", "me")
    assert lake.secret_access_key == SECRET
    assert SECRET not in repr(settings) + str(settings)
    assert settings.state == lake.default_state
    assert LakeStore.at(lake).storage.catalog == lake.default_state / "catalog.duckdb"


def test_the_environment_may_name_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, "lake: data\nstate: here")
    (tmp_path / ".env").write_text(f"AWS_ACCESS_KEY_ID=me\nAWS_SECRET_ACCESS_KEY={SECRET}\n")
    (tmp_path / ".env").chmod(0o600)
    monkeypatch.setenv("GB_LAKE", "s3://bars/lake")
    settings = Settings.load(tmp_path)
    assert str(settings.lake) == "s3://bars/lake"
    assert isinstance(settings.lake, Bucket)
    assert settings.lake.secret_access_key == SECRET
    assert settings.state == tmp_path / "here"


@pytest.mark.parametrize("text", ["lake: s3://a", "lake: s3://bars/x\ns3: [a]", "lake: s3://bars/x\ns3: {regoin: x}"])
def test_what_cannot_work_is_refused_at_load(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"gb\.yaml"):
        Settings.load(project(tmp_path, text))
