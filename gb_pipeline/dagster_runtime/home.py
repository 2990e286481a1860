"""This module keeps the folder of a project's Dagster, its home: settings, databases, and who has it in use.

Processes that run on it are up to `instance`.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from gb_pipeline.errors import ConfigError

HOME = ".dagster"
CONFIG = "dagster.yaml"
POSTGRES_CONFIG = "dagster.postgres.yaml"
_LOCK = "in-use.lock"
_HOLDER = "in-use.json"
_STORAGES = frozenset({"storage", "run_storage", "event_log_storage", "schedule_storage", "instance_class"})
# Writers of the lake's single files: two at once would only repeat each other's work.
_SINGLE_SLOT_POOLS = ("catalog", "compaction")


def read_template(name: str = CONFIG) -> str:
    """The text of the packaged dagster.yaml, or of dagster.postgres.yaml."""
    return files("gb_pipeline.dagster_runtime").joinpath(name).read_text(encoding="utf-8")


def prepare_home(home: Path, config: Path | None = None) -> None:
    """Make an instance's folder ready to be used by several processes.

    Opening it the first time migrates its databases, and several processes doing so at once break them for good: this is the
    one process. Runs that were under way when everything was killed are called failed, so that Dagster starts them again.

    Args:
        home: the folder, `.dagster` of a project; created if need be.
        config: a dagster.yaml to use instead of the packaged one.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / CONFIG).write_text(_instance_config(home, config), encoding="utf-8")
    import dagster as dg

    from gb_pipeline.dagster_runtime.opening import open_home
    from gb_pipeline.dagster_runtime.runs import fail_run

    with open_home(home) as instance:
        instance.all_instigator_state()
        instance.all_asset_keys()
        limits = instance.event_log_storage.get_pool_limits()
        for name in _SINGLE_SLOT_POOLS:
            if name not in {limit.name for limit in limits}:
                instance.event_log_storage.set_concurrency_slots(name, 1)
        # Elsewhere, such as in a cluster, a run does not end with the processes of this machine.
        if isinstance(instance.run_launcher, dg.DefaultRunLauncher):
            under_way = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
            for run in instance.get_runs(dg.RunsFilter(statuses=under_way)):
                fail_run(instance, run, "Its process is gone: Dagster was stopped while it ran.")


def _instance_config(home: Path, config: Path | None) -> str:
    """The text of an instance's dagster.yaml: a storage that it does not name is SQLite, with our event log."""
    text = config.read_text(encoding="utf-8") if config is not None else read_template()
    if names_storage(text):
        return text
    from gb_pipeline.dagster_runtime.event_log import event_log_settings

    # What is not named beside it is what Dagster has by default.
    event_log = yaml.safe_dump({"event_log_storage": event_log_settings(home)}, sort_keys=False)
    return f"{text.rstrip()}\n\n{event_log}"


def names_storage(text: str) -> bool:
    """Whether the text of a dagster.yaml says where history is kept; where it does not, that is the instance's folder."""
    named = yaml.safe_load(text) or {}
    return not isinstance(named, dict) or not _STORAGES.isdisjoint(named)


def has_home(project: Path) -> bool:
    """Whether a project has an instance: whether Dagster was ever started for it, or `ensure_home` called."""
    return (project / HOME / CONFIG).is_file()


def ensure_home(project: Path) -> Path:
    """The folder of a project's instance, which is made if there is none; Dagster may be running for the project.

    Args:
        project: folder of gb.yaml; its own dagster.yaml is used if there is one.
    """
    home = project / HOME
    home.mkdir(parents=True, exist_ok=True)
    own = project / CONFIG
    config = own if own.is_file() else None
    if not has_home(project):
        # Who starts Dagster holds this lock from before the folder is ready until Dagster is stopped.
        with FileLock(home / _LOCK):
            if not has_home(project):
                prepare_home(home, config)
    elif (text := _instance_config(home, config)) != (home / CONFIG).read_text(encoding="utf-8"):
        # The project was moved, or an earlier version made the folder.
        (home / CONFIG).write_text(text, encoding="utf-8")
    return home


def find_page(project: Path) -> str | None:
    """The address of the page that `gb up` serves for a project; None where it is not running, as far as its folder tells."""
    url = _read_holder(project / HOME).get("url")
    return None if url is None else str(url)


class HomeLock:
    """The right to run Dagster on a home, which one process has at a time; the kernel takes it back when that process dies.

    Args:
        home: the folder.

    Example:
        >>> lock = HomeLock(Path("demo/.dagster"))
        >>> lock.acquire("http://127.0.0.1:3000")
        >>> lock.release()
    """

    def __init__(self, home: Path) -> None:
        """Nothing is held yet."""
        self._home = home
        self._lock = FileLock(home / _LOCK)

    def acquire(self, url: str) -> None:
        """Take it, and leave word of who has it.

        Args:
            url: of the page that will be served.

        Raises:
            ConfigError: another process has it; the message says which, since when and its address. Or the folder is not writable.
        """
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            holder = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds"), "url": url}
            (self._home / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")
        except Timeout:
            raise ConfigError(
                f"Dagster is running for {self._home.parent} already{_describe(self._holder())}",
                fix="use its page, or stop it first with Ctrl-C",
            ) from None
        except OSError as error:
            self.release()
            place = error.filename or self._home
            raise ConfigError(
                f"Dagster keeps its history in {self._home}, and {place} cannot be written: {error.strerror}",
                fix="make room, or make the folder writable",
            ) from None

    def release(self) -> None:
        """Let go of it; as often as one likes."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self._home / _HOLDER).unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> dict[str, Any]:
        # Who has the lock writes a moment later.
        for _ in range(10):
            if found := _read_holder(self._home):
                return found
            time.sleep(0.1)
        return {}


def _read_holder(home: Path) -> dict[str, Any]:
    """Who has a home in use, as far as its file tells; empty where nobody does."""
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads((home / _HOLDER).read_text(encoding="utf-8")))
    return {}


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return ""
    return f": process {holder.get('pid')} since {holder.get('since')}, {holder.get('url')}"
