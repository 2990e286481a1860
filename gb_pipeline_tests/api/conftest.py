"""The API of a small lake in this process, and tokens for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gb_pipeline import Lake
from gb_pipeline.api.app import build_app
from gb_pipeline.api.options import ServeOptions
from gb_pipeline_tests.serving import make_token, minutes

Ask = Callable[..., TestClient]


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of one symbol, as a folder to copy."""
    root = tmp_path_factory.mktemp("made") / "data"
    Lake.open(root, create=True).put(minutes("2024-01-02", 1440), source="sim", resolution="1m", symbol="BTC-USD")
    return root


@pytest.fixture
def lake(made: Path, tmp_path: Path) -> Lake:
    """A day of one symbol."""
    shutil.copytree(made, tmp_path / "data")
    return Lake.open(tmp_path / "data")


@pytest.fixture(scope="package")
def asking_sql(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client that may query in SQL, of a server whose processes for it are started once."""
    root = tmp_path_factory.mktemp("sql") / "data"
    shutil.copytree(made, root)
    app = build_app(Lake.open(root), ServeOptions(requests_per_second=1000.0, burst=1000))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, client=("127.0.0.1", 5)) as client:
        client.headers["authorization"] = f"Bearer {make_token(root, 'sql')}"
        yield client


@pytest.fixture
def ask(lake: Lake) -> Iterator[Ask]:
    """`ask("read", most_json_rows=5)`: a client with a token of these scopes, of a server with these options."""
    opened: list[TestClient] = []

    def client(*scopes: str, **options: object) -> TestClient:
        app = build_app(lake, ServeOptions(**options))  # type: ignore[arg-type]
        new = TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, client=("127.0.0.1", 5))
        if scopes:
            new.headers["authorization"] = f"Bearer {make_token(lake.store.storage.state.parent, *scopes)}"
        opened.append(new)
        return new

    yield client
    for new in opened:
        new.close()
