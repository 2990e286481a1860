"""This module makes of a run what is stored: its row in `runs`, the rows of its parts, and the digest of its content.

Everything that can be wrong with a run is found here, before anything of it is written.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, GbError, WindowRefused
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.window import instant
from gb_pipeline.research.results import parts
from gb_pipeline.research.results.artifacts import Artifacts
from gb_pipeline.research.results.canonical import flatten, from_json, to_json, valid_text
from gb_pipeline.research.results.environment import capture_environment
from gb_pipeline.research.results.parts import Part
from gb_pipeline.research.results.run import (
    BacktestRun,
    PinnedData,
    RunName,
    RunState,
    check_text,
    shard_of,
)

# Columns that every table of a run begins with.
NAMES = ("shard", "strategy", "version", "run_id", "run_key", "save_id", "started_at")
# What makes the content of a run: the same content again is unchanged, whenever and wherever it was computed.
CONTENT = (
    "parameters",
    "metrics",
    "equity",
    "fills",
    "positions",
    "artifacts",
    "data",
    "markets",
    "seeds",
    "state",
    "error",
)


@dataclass(frozen=True)
class PreparedRun:
    """A run that can be written.

    Attributes:
        name: its names.
        row: its row in `runs`, without the moment at which it becomes known.
        parts: rows of the other tables by table, without the names.
        artifacts: bytes by name.
    """

    name: RunName
    row: dict[str, Any]
    parts: Mapping[str, pl.DataFrame]
    artifacts: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return str(self.row["digest"])


def prepare(
    run: BacktestRun, now: datetime, artifact_digests: Mapping[str, tuple[str, int]] | None = None
) -> PreparedRun:
    """A run as it is stored.

    Args:
        run: what was found.
        now: when it began and ended, where the run does not say.
        artifact_digests: SHA-256 and size of artifacts that are kept already, by name.

    Raises:
        ConfigError: a name, a parameter or a pin that cannot be kept.
        WindowRefused: a frame or a metric that cannot be kept as it is.
        NaiveTimestamp: a moment without a zone.
    """
    name = run.name.checked()
    state = _state(run)
    if not isinstance(run.error, str | None):
        raise ConfigError(f"the error of {name} is a {type(run.error).__name__}", fix="pass its text")
    error = None if run.error is None else valid_text(run.error, "the error")
    for what in ("parameters", "metrics", "artifacts", "seeds"):
        _mapping(getattr(run, what), what)
    if not isinstance(run.data, Iterable):
        raise ConfigError(f"data are a {type(run.data).__name__}", fix="pass a list of what lake.pin(...) returned")
    found = _parts(run, str(name))
    artifacts = {
        check_text(key, "the name of an artifact"): {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for key, data in _artifacts(run).items()
    } | {key: {"sha256": digest, "bytes": size} for key, (digest, size) in (artifact_digests or {}).items()}
    data = [PinnedData.of(pin) for pin in run.data]
    markets, tags = (_texts(values, what) for values, what in ((run.markets, "a market"), (run.tags, "a tag")))
    started = _moment(run.started_at, now)
    finished = _moment(run.finished_at, now)
    if finished < started:
        raise ConfigError(f"{name} ended at {finished}, before it began at {started}", fix="correct the moments")
    texts = {
        "parameters": to_json(_mapping(run.parameters, "parameters"), "parameters"),
        "seeds": to_json(_integers(run.seeds), "seeds"),
        "environment": to_json(
            capture_environment() if run.environment is None else _mapping(run.environment, "environment"),
            "environment",
        ),
        "data": to_json([pinned_to_plain(pin) for pin in data], "data"),
        "artifacts": to_json(artifacts, "artifacts"),
        "timings": to_json(_seconds(run.timings), "timings"),
        "contents": to_json({key: part.contents for key, part in found.items()}, "contents"),
    }
    digests = {
        "parameters": texts["parameters"],
        "artifacts": texts["artifacts"],
        "data": texts["data"],
        "seeds": texts["seeds"],
        "markets": markets,
        "state": state.value,
        "error": error,
        **{key: found[key].contents if key in found else None for key in ("metrics", "equity", "fills", "positions")},
    }
    fingerprint = hashlib.sha256("".join(sorted(pin.fingerprint for pin in data)).encode()).hexdigest() if data else ""
    row = {
        "shard": shard_of(name.strategy),
        "strategy": name.strategy,
        "version": name.version,
        "run_id": name.run_id,
        "run_key": name.key,
        "started_at": started,
        "finished_at": finished,
        "state": state.value,
        "error": error,
        "markets": markets,
        "tags": tags,
        **texts,
        "parameter_values": _parameter_values(from_json(texts["parameters"])),
        "metric_values": [{"name": key, "value": float(run.metrics[key])} for key in sorted(run.metrics)],
        "data_fingerprint": fingerprint,
        "digest": hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(),
    }
    return PreparedRun(name, row, {key: part.rows for key, part in found.items()}, _artifacts(run))


def _parameter_values(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters by dotted names, each of which means one of them."""
    leaves = flatten(parameters)
    names = Counter(leaf.name for leaf in leaves)
    twice = next((name for name, count in names.items() if count > 1), None)
    if twice is not None:
        raise ConfigError(
            f"the parameter {twice} is there twice: a dotted name, and nested",
            fix="keep one of both: queries ask for either by this name",
        )
    return [leaf._asdict() for leaf in leaves]


def rows_of(runs: Sequence[PreparedRun], table: str, save_ids: Sequence[int]) -> pl.DataFrame | None:
    """The rows that several runs have in a table, with the names of each run; None where there are none."""
    found = [
        (run, save_id, run.parts[table]) for run, save_id in zip(runs, save_ids, strict=True) if table in run.parts
    ]
    heights = [part.height for _, _, part in found]
    if not sum(heights):
        return None
    names = pl.DataFrame(
        {
            **{name: [run.row[name] for run, _, _ in found] for name in NAMES if name != "save_id"},
            "save_id": [save_id for _, save_id, _ in found],
        },
        schema_overrides={"started_at": INSTANT},
    )
    places = np.repeat(np.arange(len(found)), heights)
    return names.select(NAMES)[places].hstack(pl.concat([part for _, _, part in found]))


def new_save_id() -> int:
    """A number that no other save has."""
    return secrets.randbits(63)


def keep_artifacts(store: Artifacts, runs: list[PreparedRun]) -> None:
    """Keep the bytes of all artifacts, before a row names them."""
    for run in runs:
        for data in run.artifacts.values():
            store.put(data)


def pinned_to_plain(pin: PinnedData) -> dict[str, Any]:
    """What is stored of a pin."""
    return {
        "pin": pin.pin, "as_of": pin.as_of, "fingerprint": pin.fingerprint, "resolution": pin.resolution,
        "start": pin.start, "end": pin.end, "series": dict(pin.series),
    }  # fmt: skip


def _state(run: BacktestRun) -> RunState:
    try:
        return RunState(run.state)
    except ValueError:
        raise ConfigError(f"a run cannot be {str(run.state)[:40]!r}", fix="use succeeded or failed") from None


def _parts(run: BacktestRun, name: str) -> dict[str, Part]:
    found: dict[str, Part] = {}
    try:
        if run.metrics:
            found["metrics"] = parts.metrics_part(run.metrics, name)
        if run.equity is not None:
            found["equity"] = parts.equity_part(_frame(run.equity, f"equity of {name}"), f"equity of {name}")
        for what, frame in (("fills", run.fills), ("positions", run.positions)):
            if frame is not None:
                found[what] = parts.events_part(what, _frame(frame, f"{what} of {name}"), f"{what} of {name}")
    except pl.exceptions.PolarsError as error:
        raise WindowRefused(
            f"{name} cannot be stored: {error}", fix="use columns of plain numbers, text and moments"
        ) from error
    return found


def _frame(frame: object, where: str) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame):
        raise WindowRefused(
            f"the {where} are a {type(frame).__name__}", fix="pass a Polars frame: pl.from_pandas(frame.reset_index())"
        )
    return frame


def _artifacts(run: BacktestRun) -> Mapping[str, bytes]:
    for key, data in run.artifacts.items():
        if not isinstance(data, bytes):
            raise ConfigError(f"the artifact {str(key)[:40]} is a {type(data).__name__}", fix="pass its bytes")
    return run.artifacts


def _texts(values: object, what: str) -> list[str]:
    if not isinstance(values, Iterable):
        raise ConfigError(f"{what} cannot be {str(values)[:40]!r}", fix="pass a list of names")
    return sorted({check_text(value, what) for value in ([values] if isinstance(values, str) else values)})


def _integers(seeds: Mapping[str, int]) -> dict[str, int]:
    for key, value in seeds.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ConfigError(f"the seed {str(key)[:40]} is {str(value)[:40]!r}", fix="seeds are integers")
    return {key: int(value) for key, value in seeds.items()}


def _seconds(timings: Mapping[str, float]) -> dict[str, float]:
    for key, value in _mapping(timings, "timings").items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise ConfigError(
                f"the timing {str(key)[:40]} is {str(value)[:40]!r}", fix="timings are numbers of seconds"
            )
    return {key: float(value) for key, value in timings.items()}


def _mapping(values: object, what: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{what} are a {type(values).__name__}", fix="pass a mapping of names to values")
    return dict(values)


def _moment(value: datetime | None, now: datetime) -> datetime:
    try:
        return now if value is None else instant(value)
    except GbError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{value!r} is no moment", fix="use a datetime with a zone") from error
