"""This module exports runs to MLflow, for those who look at them there; nothing is read from it.

MLflow keeps floats and texts of limited length: exact numbers are rounded to floats there, and the run here stays the truth.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.results.canonical import flatten, to_json
from gb_pipeline.research.results.run import BacktestRun, RunName, RunState

if TYPE_CHECKING:
    from gb_pipeline.research.results.results import Results

_LONGEST_PARAMETER = 500


def export_to_mlflow(
    results: Results, run: RunName | str, *, tracking_uri: str, experiment: str | None = None, curve: str = "equity"
) -> str:
    """Write a run into an experiment of MLflow; once more gives the run that is there already.

    Args:
        results: where the run is.
        run: its name.
        tracking_uri: of the server or folder, as MLflow takes it.
        experiment: its name; that of the strategy by default.
        curve: which one is logged step by step.

    Returns:
        MLflow's id of the run.

    Raises:
        ConfigError: MLflow is not installed.
        LakeError: there is no such run.
    """
    try:
        client_class = import_module("mlflow.tracking").MlflowClient
    except ImportError:
        raise ConfigError("MLflow is not installed", fix="install it beside: pip install mlflow-skinny") from None
    loaded = results.load_backtest_data(run, parts=("equity",))
    client = client_class(tracking_uri=tracking_uri)
    name = experiment or loaded.strategy
    known = client.get_experiment_by_name(name)
    experiment_id = client.create_experiment(name) if known is None else known.experiment_id
    there = client.search_runs(
        [experiment_id], filter_string=f"tags.`gb.run` = '{_quoted(loaded.name)}'", max_results=1
    )
    if there and there[0].info.status in {"FINISHED", "FAILED"}:
        return str(there[0].info.run_id)
    started = client.create_run(
        experiment_id, start_time=_milliseconds(loaded.started_at), run_name=str(loaded.name), tags=_tags(loaded)
    )
    run_id = str(started.info.run_id)
    for leaf in flatten(loaded.parameters):
        text = to_json(leaf.number) if leaf.text is None else leaf.text
        client.log_param(run_id, leaf.name, text[:_LONGEST_PARAMETER])
    for metric, value in loaded.metrics.items():
        client.log_metric(run_id, metric, float(value))
    if loaded.equity is not None and curve in loaded.equity.columns:
        steps = loaded.equity.select("timestamp", curve).drop_nulls()
        for step, (moment, value) in enumerate(steps.iter_rows()):
            client.log_metric(run_id, curve, float(value), timestamp=_milliseconds(moment), step=step)
    state = "FINISHED" if loaded.state is RunState.SUCCEEDED else "FAILED"
    client.set_terminated(run_id, status=state, end_time=_milliseconds(loaded.finished_at))
    return run_id


def _tags(run: BacktestRun) -> dict[str, str]:
    environment = run.environment or {}
    return {
        "gb.run": str(run.name),
        "gb.version": run.version,
        **{f"gb.data.{pin.pin}": pin.fingerprint for pin in run.data},
        **({"mlflow.source.git.commit": str(environment["git_commit"])} if "git_commit" in environment else {}),
    }


def _quoted(name: RunName) -> str:
    text = str(name)
    if "'" in text:
        raise ConfigError(
            f"{text} cannot be exported: MLflow finds no name with a quote", fix="save it under another name"
        )
    return text


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
