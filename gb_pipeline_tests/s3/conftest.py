"""An S3 server for every test that wants one, and a lake in a new bucket of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.s3.store import Store, running_store

Machine = Callable[[str], LakeStore]


@pytest.fixture(scope="session")
def one_server() -> Iterator[Store]:
    """The server of this process."""
    with running_store() as store:
        yield store


@pytest.fixture
def server(one_server: Store) -> Iterator[Store]:
    """The server, without faults and without requests so far."""
    one_server.heal()
    one_server.requests.clear()
    yield one_server
    one_server.heal()


@pytest.fixture
def bucket(server: Store) -> Bucket:
    """A new bucket."""
    return server.bucket()


@pytest.fixture
def machine(bucket: Bucket, tmp_path: Path) -> Machine:
    """`machine("a")`: the lake in the bucket as one machine sees it, whose state nobody else has."""
    return lambda name: LakeStore.at(bucket, state=tmp_path / name)
