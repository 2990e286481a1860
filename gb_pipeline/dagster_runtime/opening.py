"""This module opens the instance that a home's dagster.yaml describes; what keeps it from opening is said in a sentence.

The home itself is up to `home`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from gb_pipeline.config.environment import ENV_FILE, read_env
from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.errors import ConfigError, GbError

CONFIG = "dagster.yaml"
_LONGEST = 300
_EXTRAS = {"dagster_postgres": "postgres", "dagster_aws": "s3", "dagster_celery": "celery"}


@contextmanager
def open_home(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance of a folder, closed when the block ends.

    Args:
        home: with its dagster.yaml. A variable that this names as `env: NAME` may stand in `.env` beside gb.yaml; Dagster
            looks for it in the environment, so it is put there.

    Raises:
        ConfigError: a variable is unset, a package that dagster.yaml names is not installed, or it says what Dagster does not know.
        DagsterError: the database does not answer.

    Example:
        >>> with open_home(Path("demo/.dagster")) as instance:
        ...     instance.get_runs_count()
        3
    """
    os.environ.update(find_variables(home))
    try:
        instance = dg.DagsterInstance.from_config(str(home))
        # Loaded by who asks for it first: that would be the daemon, with the first run.
        _ = instance.run_launcher
    except Exception as error:
        if (told := _explain(error)) is None:
            raise
        raise told from None
    with instance:
        yield instance


def find_variables(home: Path) -> dict[str, str]:
    """The environment variables that a home's dagster.yaml names, from the environment or from `.env` beside gb.yaml.

    Raises:
        ConfigError: one of them is in neither.
    """
    named = set(_find_names(yaml.safe_load((home / CONFIG).read_text(encoding="utf-8"))))
    found = {name: os.environ.get(name, "") for name in sorted(named)}
    if not all(found.values()):
        written = read_env(home.parent / ENV_FILE)
        found = {name: value or written.get(name, "") for name, value in found.items()}
    for name, value in found.items():
        if not value:
            raise ConfigError(
                f"dagster.yaml needs the environment variable {name}, which is not set",
                fix=f"set it, or write it into {home.parent / ENV_FILE}",
            )
    return found


def _find_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"env"} and isinstance(value["env"], str):
            yield value["env"]
        for item in value.values():
            yield from _find_names(item)
    elif isinstance(value, list):
        for item in value:
            yield from _find_names(item)


def _explain(error: BaseException | None) -> GbError | None:
    """What Dagster stumbled over, if that is a package or a database; Dagster wraps it into errors of its own."""
    from sqlalchemy.exc import DBAPIError

    while error is not None:
        if isinstance(error, ImportError):
            missing = (error.name or "").split(".")[0]
            extra = _EXTRAS.get(missing)
            fix = f'pip install "gb_pipeline[{extra}]"' if extra else "install it beside gb_pipeline"
            return ConfigError(f"dagster.yaml names {missing}, which is not installed", fix=fix)
        if isinstance(error, ConfigError):
            return error
        if isinstance(error, dg.DagsterInvalidConfigError) and error.__cause__ is None:
            said = "; ".join(" ".join(item.message.split()) for item in error.errors)
            return ConfigError(f"dagster.yaml cannot be used: {said[:_LONGEST]}", fix="correct it")
        if isinstance(error, DBAPIError):
            # The first line of what the driver said, which holds no password.
            reason = str(error.orig).strip().split("\n")[0]
            return DagsterError(
                f"the database of dagster.yaml does not answer: {reason}",
                fix="start it, or correct its address; see docs/postgres.md",
            )
        error = error.__cause__ or error.__context__
    return None
