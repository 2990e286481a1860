"""`gb worker` takes runs from a queue, on as many machines as one likes, after a look at everything that it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, load_settings
from gb_pipeline.cli.output import note
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("worker")(worker)


def worker(
    runs: Annotated[int, typer.Option(help="Runs at the same time; each takes some 400 MB.", min=1, max=64)] = 2,
    name: Annotated[str, typer.Option(help="Shown in the runs; two on one machine need different ones.")] = "gb",
    config: Config = None,
) -> int:
    """Execute runs of a Dagster that runs elsewhere.

    Takes runs from the queue that `run_launcher` in the dagster.yaml beside gb.yaml names, until Ctrl-C or SIGTERM, and lets those
    that are under way finish. Start one on each machine that shall fetch.
    """
    settings = load_settings(config)
    from gb_pipeline.dagster_runtime.broker import prepare_worker_home, require_broker

    home = prepare_worker_home(settings.path.parent)
    _require_lake(settings)
    broker = require_broker(home)
    note(
        f"takes {runs} runs at a time from {broker} for {settings.lake}; Ctrl-C ends it after the runs that are under way"
    )
    environment: Mapping[str, Any] = {
        "GB_CONFIG": str(settings.path),
        "DAGSTER_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }
    os.environ.update(environment)
    os.chdir(settings.path.parent)
    # A process that has loaded nothing yet.
    program = [sys.executable, "-m", "gb_pipeline.dagster_runtime.celery_worker", name, str(runs)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, program)


def _require_lake(settings: Settings) -> None:
    """Raise ConfigError where this machine cannot write the lake."""
    from gb_pipeline.cli.bucket_checks import check_bucket
    from gb_pipeline.cli.checks import CheckResult
    from gb_pipeline.config.bucket import Bucket

    if isinstance(settings.lake, Bucket):
        for finding in check_bucket(settings.lake):
            if finding.result is CheckResult.FAIL:
                raise ConfigError(f"this worker cannot use the lake: {finding.detail}", fix=finding.fix)
    elif not Path(settings.lake).parent.is_dir():
        raise ConfigError(
            f"there is no folder {Path(settings.lake).parent} for the lake on this machine",
            fix="workers on other machines need a lake in a bucket: `lake: s3://...` in gb.yaml",
        )
