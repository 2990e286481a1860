"""A lake, and the same one through a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.client import RemoteLake
from gb_pipeline_tests.serving import Server, fill_lake, make_token, serving


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served") / "data"
    fill_lake(root)
    return root


@pytest.fixture(scope="package")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(root, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def local(root: Path) -> Lake:
    return Lake.open(root)


@pytest.fixture(scope="package")
def token(root: Path) -> str:
    return make_token(root)


@pytest.fixture
def far(server: Server, token: str) -> Iterator[RemoteLake]:
    with RemoteLake(server.url, token) as lake:
        yield lake
