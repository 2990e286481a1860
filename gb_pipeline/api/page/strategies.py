"""This module answers what the page asks about backtests: strategies, their versions and runs, one run, and two side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from gb_pipeline.api.page.frames import MOST_ROWS, to_json, window
from gb_pipeline.api.page.parameters import Parameters
from gb_pipeline.api.page.sorting import Sort
from gb_pipeline.errors import ConfigError
from gb_pipeline.research.results import Results
from gb_pipeline.research.results.canonical import to_json as to_text
from gb_pipeline.research.results.run import BacktestRun

# A screen has no more points than that.
_MOST_POINTS = 4000
_MOST_METRICS = 10
_COLUMNS = ("strategy", "version", "run_id", "state", "started_at", "markets", "tags", "parameters")
_METRIC = "metrics."
_NEWEST = Sort("started_at", descending=True)
_TIMES = ("started_at", "finished_at", "known_at")
# What one chart of runs reads at most.
_MOST_CHARTED = 20_000


def list_strategies(results: Results, ask: Parameters) -> dict[str, Any]:
    """Strategies whose name holds the words of `search`; a window of them, as `Results.list_strategies` has them."""
    rows = results.list_strategies().sort("last", descending=True, maintain_order=True)
    for word in (ask.text("search") or "").lower().split()[:8]:
        rows = rows.filter(pl.col("strategy").str.to_lowercase().str.contains(word, literal=True))
    return window(rows, ask)


def list_versions(results: Results, ask: Parameters) -> dict[str, Any]:
    """The versions of a strategy, the newest first.

    Raises:
        LakeError: there is no such strategy.
    """
    return to_json(results.manage_versions(ask.needed("strategy")).reverse().head(MOST_ROWS))


def query_runs(results: Results, ask: Parameters) -> dict[str, Any]:
    """A window of the runs that fulfil all conditions.

    `parameters` and `metrics` hold conditions such as `window = 20; sharpe > 1`; `show` the metrics that are columns, by default
    those that the first rows have; `sort` a column, `metrics.NAME` or `parameters.NAME`. `total` counts all of them.

    Raises:
        ReadError: a condition or an order that cannot be answered.
    """
    filters = _filters(ask)
    limit = min(ask.whole("limit", 100), MOST_ROWS)
    sort = Sort.parse(ask.text("sort")) or _NEWEST
    rows = results.query_metadata(
        **filters, order_by=sort.column, descending=sort.descending, limit=limit, offset=ask.whole("offset", 0)
    )
    names = (ask.text("show") or "").split(",") if ask.text("show") else _metric_names(rows)
    metrics = [
        pl.col(_METRIC + name) if _METRIC + name in rows.columns else pl.lit(None, pl.Float64).alias(_METRIC + name)
        for name in names[:_MOST_METRICS]
    ]
    shown = rows.select(*_COLUMNS[:5], *metrics, *_COLUMNS[5:])
    found = to_json(shown, total=results.count(**filters), offset=ask.whole("offset", 0), unsorted=_COLUMNS[5:])
    return found | {"show": ",".join(names[:_MOST_METRICS])}


def run_curves(results: Results, ask: Parameters) -> dict[str, Any]:
    """Metrics of the runs that fulfil all conditions against a time of them, as curves for a chart.

    `time` is `started_at` (by default), `finished_at` or `known_at`; `values` up to ten metrics, with commas between.

    Returns:
        `curves`, each with `name`, `time` (seconds since 1970 UTC) and `value`; `runs`, how many fulfil the conditions; `read`, how
        many of them, the newest, were read; `points`, how many moments are drawn, which is fewer where several runs began in the
        same second, or where there are more than a screen has room for.

    Raises:
        ConfigError: no metric is named, or no time.
        ReadError: a condition that cannot be answered.
    """
    filters, time = _filters(ask), ask.text("time") or _TIMES[0]
    if time not in _TIMES:
        raise ConfigError(f"runs have no time {time[:60]!r}", fix=f"use {', '.join(_TIMES)}")
    names = [name.strip() for name in ask.needed("values").split(",") if name.strip()][:_MOST_METRICS]
    rows = results.query_metadata(**filters, order_by=time, descending=True, limit=_MOST_CHARTED)
    values = [pl.col(name) for name in names if name.startswith(_METRIC) and name in rows.columns]
    curves = _curves(rows.select(pl.col(time).alias("timestamp"), *values).drop_nulls("timestamp")) if values else []
    points = len(curves[0]["time"]) if curves else 0
    return {"curves": curves, "runs": results.count(**filters), "read": rows.height, "points": points}


def explain_runs(results: Results, ask: Parameters) -> dict[str, Any]:
    """How such a query is answered, as `Results.optimize_query` says it."""
    return {"plan": str(results.optimize_query(**_filters(ask)))}


def _filters(ask: Parameters) -> dict[str, Any]:
    named = {name: ask.text(name) for name in ("strategy", "version", "market", "tag", "state")}
    times = {name: ask.moment(name) for name in ("start", "end")}
    conditions = {name: _conditions(ask.text(name)) for name in ("parameters", "metrics")}
    return {name: value for name, value in (named | times | conditions).items() if value}


def _conditions(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").replace("\n", ";").split(";") if part.strip()]


def _metric_names(rows: pl.DataFrame) -> list[str]:
    return [name.removeprefix(_METRIC) for name in rows.columns if name.startswith(_METRIC)]


def read_run(results: Results, ask: Parameters) -> dict[str, Any]:
    """All that is known of a run: what went in, what came out, where it was computed, and its curves for a chart.

    Raises:
        ConfigError, LakeError: no name of a run, or there is none of it.
    """
    run = results.load_backtest_data(ask.needed("run"), parts=("equity",))
    said = results.load_metadata(run.strategy, run.version, run_id=run.run_id)
    return {
        "name": str(run.name),
        "about": _pairs(
            {
                "state": run.state.value, "error": run.error, "started": _moment(run.started_at),
                "finished": _moment(run.finished_at), "markets": ", ".join(run.markets), "tags": ", ".join(run.tags),
            }
        ),
        "parameters": _pairs(run.parameters),
        "metrics": _pairs(run.metrics),
        "environment": _pairs(run.environment or {}),
        "seeds": _pairs(run.seeds),
        "timings": _pairs(run.timings),
        "notes": _pairs(said),
        "pins": to_json(_pins(run)),
        "artifacts": to_json(results.list_artifacts(run.name)),
        "dagster_run": _dagster_run(run.environment or {}, said),
        "equity": _curves(run.equity),
    }  # fmt: skip


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _dagster_run(*places: Mapping[str, Any]) -> str | None:
    """The run of Dagster that computed it, where its environment or a note says so."""
    return next((str(place["dagster_run_id"]) for place in places if place.get("dagster_run_id")), None)


def compare_runs(results: Results, ask: Parameters) -> dict[str, Any]:
    """Two runs side by side; what is the same in both is left out unless `all` is given.

    Raises:
        LakeError: there is no such run.
    """
    found = results.compare(ask.needed("left"), ask.needed("right"))
    same = ask.text("all") is not None
    changed = {
        name: to_json(frame if same else frame.filter(~pl.col("same")))
        for name, frame in (
            ("parameters", found.parameters),
            ("metrics", found.metrics),
            ("environment", found.environment),
        )
    }
    data = found.data if same else found.data.filter(pl.col("kind") != "same")
    first = None if found.first_difference is None else str(found.first_difference)
    return changed | {
        "left": str(found.left), "right": str(found.right), "data": to_json(data), "same": found.is_same, "first_difference": first,
        "equity": _curves(found.equity),
    }  # fmt: skip


def _pairs(values: Mapping[str, Any]) -> list[list[str]]:
    """Names and values as text; numbers with all their digits."""
    return [[str(name), _text(value)] for name, value in values.items() if value is not None and value != ""]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        found = json.loads(to_text(value))
    except (TypeError, ValueError):
        return str(value)
    return (
        str(value)
        if isinstance(found, dict) and len(found) == 1 and next(iter(found)).startswith("$")
        else to_text(value)
    )


def _pins(run: BacktestRun) -> pl.DataFrame:
    rows = [
        (pin.pin, name, pin.resolution, fingerprint, pin.as_of)
        for pin in run.data
        for name, fingerprint in pin.series.items()
    ]
    kinds = {
        **dict.fromkeys(("pin", "series", "resolution", "fingerprint"), pl.String()),
        "as_of": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(rows, schema=kinds, orient="row").head(MOST_ROWS)


def _curves(frame: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Curves with at most some thousand points: of each stretch that shares one, the last."""
    if frame is None or frame.is_empty():
        return []
    moments = frame["timestamp"].cast(pl.Datetime("us"))
    curves = frame.select(pl.exclude("timestamp").cast(pl.Float64)).with_columns(time=moments.dt.epoch("s"))
    # A chart has one value for each second.
    curves = curves.unique("time", keep="last", maintain_order=True).sort("time")
    step = -(-curves.height // _MOST_POINTS)
    thin = curves.reverse().gather_every(step).reverse()
    # A chart draws no point that is not a number.
    values = thin.select(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in thin.columns if name != "time"
    )
    moments_shown = thin["time"].to_list()
    return [{"name": name, "time": moments_shown, "value": values[name].to_list()} for name in values.columns]
