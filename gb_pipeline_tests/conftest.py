"""Fixtures that every area uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Machines are noisy, so no example has a deadline. Where nobody watches (`.ci/run`), the examples are the same every time.
settings.register_profile("project", deadline=None, max_examples=40)
settings.register_profile("ci", parent=settings.get_profile("project"), derandomize=True)
_UNWATCHED = os.environ.get("CI") == "true" or os.environ.get("GB_REQUIRE_SERVICES") == "1"
settings.load_profile("ci" if _UNWATCHED else "project")

# No test leaves the machine, whatever it runs and whatever that starts.
os.environ["GB_LOOPBACK_ONLY"] = "1"
# Where Python is told to keep no compiled modules, each of the hundred processes that tests start compiles the package anew:
# 1.6 s of the 3.1 s that Dagster's definitions take to import, and 9 s per worker to collect the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

_REPOSITORY = Path(__file__).resolve().parents[1]


def _absent(reason: str) -> None:
    """Skip, or fail where the machine promised to have everything (`GB_REQUIRE_SERVICES=1`)."""
    if os.environ.get("GB_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} (GB_REQUIRE_SERVICES=1)")
    pytest.skip(reason)


# What takes longest begins first, so that at the end nobody waits for one that began last. Measured by `--durations`.
_LONGEST = (
    "/e2e/", "cli/test_demo_up", "s3/", "faults/test_kills", "faults/test_damaged", "security/test_planted", "faults/test_mending",
    "faults/", "cli/test_kept_for_years", "test_docs", "dagster_runtime/", "orchestration/test_", "orchestration/alerts", "laws/",
    "orchestration/", "security/test_hostile_csv", "cli/test_verify", "cli/test_backup", "providers/test_fault_matrix", "security/",
)  # fmt: skip
# Beyond these, daemons and browsers only take each other's memory.
_MOST_WORKERS = 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort files by how long they take, and mark all of `e2e/`."""

    def rank(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(_LONGEST) if name in item.nodeid), len(_LONGEST))

    items.sort(key=rank)
    for item in items:
        if "/e2e/" in item.nodeid:
            item.add_marker("e2e")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: much of the suite waits for daemons and processes of its own."""
    given = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(given) if given else min((os.cpu_count() or 1) + 1, _MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file stays in one process, and so do the two that share the one running Dagster.

    The marks of pytest-xdist 3.8 (`xdist_group`) have no effect since pytest 9.2 made node ids read-only.
    """
    from xdist.scheduler.loadfile import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return (
                "e2e"
                if file.endswith(("/e2e/test_backfill.py", "/e2e/test_browser.py", "/e2e/test_downstream.py"))
                else file
            )

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _state_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a machine keeps for lakes in buckets goes into a temporary folder: tests leave nothing in a home."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("machine")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Alembic reads ninety scripts whenever Dagster opens a database: a fifth of what runs in this process take."""
    from alembic.script import ScriptDirectory

    read, known = ScriptDirectory.from_config, {}

    def read_once(config: Any) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", staticmethod(read_once))
        yield


@pytest.fixture(scope="session")
def market_data() -> Callable[[str], Path]:
    """`market_data("sessions/xnys.csv")`: a file or folder of real market data, read where it lies.

    The collection is not part of the repository; `GB_MARKET_DATA` names its folder, `../shared/market-data` by default.
    """
    root = Path(os.environ.get("GB_MARKET_DATA") or _REPOSITORY.parent / "shared" / "market-data")

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            _absent(f"no real market data at {path}: set GB_MARKET_DATA to the folder that holds {relative}")
        return path

    return find
