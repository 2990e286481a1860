"""`gb results`: what backtests found. This module lists, shows, compares and exports it; `results_purging` removes runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.groups import command_group
from gb_pipeline.cli.options import Config, End, Json, LakeFolder, Start, open_lake, parse_moment
from gb_pipeline.cli.output import ExitCode, note, print_json, print_table
from gb_pipeline.cli.results_purging import purge, sweep
from gb_pipeline.cli.run_conditions import read_conditions
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.research.results import BacktestRun, Results
    from gb_pipeline.research.results.canonical import Leaf

_STYLES = {"failed": "red", "succeeded": "green", "changed": "yellow", "no": "yellow"}
# Columns of numbers; all that were asked for are shown.
_SHOWN = 3
_Run = Annotated[str, typer.Argument(metavar="RUN", help="STRATEGY/VERSION/RUN.", show_default=False)]
_Side = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="STRATEGY/VERSION/RUN, or STRATEGY/VERSION for its last run.", show_default=False
    ),
]

results_app = command_group("results", "What backtests found: runs, versions, metrics.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    results_app.command("list")(list_runs)
    results_app.command("show")(show)
    results_app.command("compare")(compare)
    results_app.command("export")(export)
    results_app.command("purge")(purge)
    results_app.command("sweep")(sweep)
    app.add_typer(results_app)


def list_runs(
    strategy: Annotated[
        str | None,
        typer.Argument(metavar="[STRATEGY]", help="Its runs; without it, all strategies.", show_default=False),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Of the strategy.", show_default=False)] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", "-w", help="'metrics.sharpe > 1' or 'parameters.window = 20'; all hold.", show_default=False
        ),
    ] = None,
    market: Annotated[str | None, typer.Option("--market", help="That a run traded.", show_default=False)] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="That a run has.", show_default=False)] = None,
    start: Start = None,
    end: End = None,
    order_by: Annotated[
        str, typer.Option("--order-by", help="A column, metrics.NAME or parameters.NAME.")
    ] = "started_at",
    limit: Annotated[int, typer.Option("--limit", help="Rows at most.")] = 20,
    retired: Annotated[bool, typer.Option("--retired", help="Retired runs as well.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say how the question is answered instead.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """List strategies, or runs.

    Without a strategy and without conditions, strategies with their numbers of runs. Times are when runs began.
    """
    results = _open(config, lake)
    filters: dict[str, Any] = {
        "strategy": strategy, "version": version, "market": market, "tag": tag, "start": parse_moment(start),
        "end": parse_moment(end), "retired": retired, **read_conditions(where or []),
    }  # fmt: skip
    if explain:
        note(str(results.optimize_query(**filters, order_by=order_by, limit=limit)))
        return ExitCode.OK
    if not any(value for value in filters.values()):
        strategies = results.list_strategies()
        if as_json:
            print_json(strategies.to_dicts())
        elif strategies.is_empty():
            note("there is no run yet")
        else:
            print_table(("strategy", "runs", "versions", "last run (UTC)"), strategies.rows())
        return ExitCode.OK
    found = results.query_metadata(**filters, order_by=order_by, limit=limit)
    if as_json:
        print_json(found.to_dicts())
        return ExitCode.OK
    total = results.count(**filters)
    if found.is_empty():
        note("no run fulfils that")
        return ExitCode.OK
    found, asked = _with_what_was_asked(found, where or [], order_by)
    metrics = [name for name in found.columns if name.startswith("metrics.") and name not in asked]
    shown = ["strategy", "version", "run_id", "state", "started_at", *asked, *metrics[: max(0, _SHOWN - len(asked))]]
    headings = [
        name.removeprefix("metrics.")
        .removeprefix("parameters.")
        .replace("started_at", "began (UTC)")
        .replace("run_id", "run")
        for name in shown
    ]
    print_table(headings, found.select(shown).rows(), styles=_STYLES)
    if total > found.height:
        note(f"{found.height:,} of {format_count(total, 'run')}; see --limit")
    return ExitCode.OK


def _with_what_was_asked(found: pl.DataFrame, where: list[str], order_by: str) -> tuple[pl.DataFrame, list[str]]:
    """The metrics and parameters that conditions and the order name: the columns, of the runs that have them, and their names."""
    import polars as pl

    from gb_pipeline.research.results import Condition, from_json
    from gb_pipeline.research.results.canonical import flatten

    named = [f"{kind}.{Condition.parse(text).name}" for kind, texts in read_conditions(where).items() for text in texts]
    named = list(dict.fromkeys([*([order_by] if "." in order_by else []), *named]))
    wanted = [name.removeprefix("parameters.") for name in named if name.startswith("parameters.")]
    if wanted:
        runs = [{leaf.name: leaf for leaf in flatten(from_json(text))} for text in found["parameters"]]
        values = [
            pl.Series(f"parameters.{name}", [_shown(leaves.get(name)) for leaves in runs], pl.String) for name in wanted
        ]
        found = found.with_columns(values)
    return found, [name for name in named if name in found.columns]


def _shown(leaf: Leaf | None) -> str | None:
    """A parameter as it is read: as a number, or as JSON."""
    if leaf is None:
        return None
    return f"{leaf.number:.15g}" if leaf.number is not None else _cut(leaf.text)


def show(run: _Run, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Show one run: parameters, metrics, data, environment, and how many rows it has."""
    results = _open(config, lake)
    found = results.load_backtest_data(run)
    document = _document(results, found)
    if as_json:
        print_json(document)
        return ExitCode.OK
    rows = list(_lines(document))
    print_table(("", "name", "value"), rows, title=str(found.name), styles=_STYLES)
    return ExitCode.OK


def compare(left: _Side, right: _Side, config: Config = None, lake: LakeFolder = None, as_json: Json = False) -> int:
    """Lay two runs side by side: parameters, metrics, the data that changed, environments.

    Exit code 1 says that parameters, metrics, equity or data differ.
    """
    comparison = _open(config, lake).compare(left, right)
    parts = ("parameters", "metrics", "data", "environment")
    if as_json:
        frames = {part: getattr(comparison, part).to_dicts() for part in parts}
        print_json(
            {"left": str(comparison.left), "right": str(comparison.right), "same": comparison.is_same, **frames}
            | {"first_difference": comparison.first_difference}
        )
    else:
        rows = [
            (part, row["name"] if "name" in row else row["series"], _cut(row["left"]), _cut(row["right"]), _same(row))
            for part in parts
            for row in getattr(comparison, part).to_dicts()
        ]
        print_table(("", "name", str(comparison.left), str(comparison.right), "same"), rows, styles=_STYLES)
        if comparison.first_difference is not None:
            note(f"equity differs from {comparison.first_difference} on")
    return ExitCode.OK if comparison.is_same else ExitCode.FAILED


def export(
    run: _Run,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Made if it is not there.", show_default=False)],
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Write a run into a folder: run.json, equity, fills and positions as Parquet, and its artifacts.

    A folder that holds something already is refused.
    """
    results = _open(config, lake)
    found = results.load_backtest_data(run)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", fix="name a new folder")
    artifacts = results.list_artifacts(run)["name"].to_list()
    (folder / "artifacts").mkdir(parents=True)
    import json

    from gb_pipeline.research.results.canonical import to_json

    for name in ("equity", "fills", "positions"):
        frame: pl.DataFrame | None = getattr(found, name)
        if frame is not None:
            frame.write_parquet(folder / f"{name}.parquet")
    for name in artifacts:
        (folder / "artifacts" / _file_name(name)).write_bytes(results.load_artifact(run, name))
    document = json.loads(to_json(_document(results, found), "the run"))
    (folder / "run.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    note(f"{found.name} is in {folder}")
    return ExitCode.OK


def _open(config: Path | None, lake: Path | None) -> Results:
    from gb_pipeline.research.results import Results

    return Results(open_lake(config, lake))


def _document(results: Results, run: BacktestRun) -> dict[str, Any]:
    rows = {
        name: frame.height for name in ("equity", "fills", "positions") if (frame := getattr(run, name)) is not None
    }
    metadata = results.load_metadata(run.strategy, run.version, run_id=run.run_id)
    return {
        "run": {
            "strategy": run.strategy, "version": run.version, "run_id": run.run_id, "state": run.state.value, "error": run.error,
            "started_at": run.started_at, "finished_at": run.finished_at, "markets": list(run.markets), "tags": list(run.tags),
        },
        "parameters": dict(run.parameters),
        "metrics": dict(run.metrics),
        "data": {pin.pin: {"fingerprint": pin.fingerprint, "as_of": pin.as_of, "series": dict(pin.series)} for pin in run.data},
        "seeds": dict(run.seeds),
        "timings": dict(run.timings),
        "environment": dict(run.environment or {}),
        "rows": rows,
        "artifacts": {row["name"]: row["sha256"] for row in results.list_artifacts(run.name).to_dicts()},
        "metadata": metadata,
    }  # fmt: skip


def _lines(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for part, values in document.items():
        for name, value in values.items():
            if isinstance(value, dict):
                yield from (
                    (part, f"{name}.{key}", _cut(item)) for key, item in value.items() if not isinstance(item, dict)
                )
            elif value not in (None, []):
                yield part, name, _cut(", ".join(map(str, value)) if isinstance(value, list) else value)


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else None
    return value if text is None or len(text) <= 40 else f"{text[:37]}..."


def _same(row: dict[str, Any]) -> str:
    if "kind" in row:
        return str(row["kind"])
    return "yes" if row["same"] else "no"


def _file_name(name: str) -> str:
    """Names of artifacts have no slash; one that means a folder is not taken as it is."""
    return f"_{name}" if name.startswith(".") else name
