"""What a worker needs of Dagster before it takes runs: its storage and a broker, both answering. `celery_worker` takes them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import yaml

from gb_pipeline.dagster_runtime.home import CONFIG, HOME, ensure_home, has_home, names_storage
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.errors import ConfigError

_GUIDE = "see docs/deploy.md"
_WRITE = "name gb_pipeline.dagster_runtime.celery_launcher under `run_launcher`"
_ANSWER_SECONDS = 5.0
_REDIS = ("redis://", "rediss://")
_LONGEST = 300


def prepare_worker_home(project: Path) -> Path:
    """The folder of the instance as a worker uses it, with the dagster.yaml of now.

    Args:
        project: folder of gb.yaml and of dagster.yaml.

    Raises:
        ConfigError: dagster.yaml names no queue, or a storage that this machine does not share with the one that launches runs.
    """
    own = project / CONFIG
    try:
        text = own.read_text(encoding="utf-8")
        named = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{own} cannot be read: {_say(error)}", fix=f"{_WRITE}; {_GUIDE}") from None
    if not isinstance(named, dict) or "run_launcher" not in named:
        raise ConfigError(f"{own} names no queue: runs are executed where `gb up` runs", fix=f"{_WRITE}; {_GUIDE}")
    if not has_home(project) and not names_storage(text):
        raise ConfigError(
            f"Dagster's history lies in {project / HOME} on the machine that runs `gb up`, and nothing is there",
            fix=f"name a PostgreSQL server under `storage` of dagster.yaml, on all machines; {_GUIDE}",
        )
    return ensure_home(project)


def require_broker(home: Path) -> str:
    """The address of the broker, without credentials, after it has answered.

    Args:
        home: of the instance.

    Raises:
        ConfigError: dagster.yaml cannot be used, names another launcher, or its broker does not answer.
        DagsterError: its database does not answer.
    """
    with open_home(home) as instance:
        from gb_pipeline.dagster_runtime.celery_launcher import CeleryLauncher

        launcher = instance.run_launcher
        instance.get_runs_count()
    if not isinstance(launcher, CeleryLauncher):
        raise ConfigError(
            f"dagster.yaml launches runs by {type(launcher).__name__}, which needs no worker",
            fix=f"{_WRITE}; {_GUIDE}",
        )
    address = _without_credentials(str(launcher.broker))
    try:
        for url in {str(launcher.broker), str(launcher.backend)}:
            _ping(url)
    except Exception as error:
        raise ConfigError(
            f"the queue at {address} does not answer: {_say(error)}",
            fix="start it, or correct `broker` under `run_launcher` of dagster.yaml",
        ) from None
    return address


def _ping(url: str) -> None:
    """Raise where no Redis answers within seconds; of other servers Celery says so itself, when it starts."""
    if url.startswith(_REDIS):
        from redis import Redis

        with Redis.from_url(url, socket_connect_timeout=_ANSWER_SECONDS, socket_timeout=_ANSWER_SECONDS) as client:
            client.ping()


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    place = parts.hostname or ""
    return f"{parts.scheme}://{place}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _say(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
