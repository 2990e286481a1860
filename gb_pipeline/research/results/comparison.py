"""This module lays two runs side by side, and says what differs between a run that is saved and one that is given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from gb_pipeline.market.moments import INSTANT
from gb_pipeline.research.results import parts
from gb_pipeline.research.results.canonical import from_json, to_json
from gb_pipeline.research.results.prepared import pinned_to_plain
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName

_DIFFERENCES = pl.Schema({"part": pl.String(), "name": pl.String(), "saved": pl.String(), "given": pl.String()})
_VALUES = pl.Schema({"name": pl.String(), "left": pl.String(), "right": pl.String(), "same": pl.Boolean()})
_METRICS = pl.Schema(
    {"name": pl.String(), "left": pl.Float64(), "right": pl.Float64(), "change": pl.Float64(), "same": pl.Boolean()}
)
_DATA = pl.Schema({"series": pl.String(), "left": pl.String(), "right": pl.String(), "kind": pl.String()})


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        left, right: names of the runs.
        parameters: `name, left, right` (canonical JSON; null where a run has none) and `same`.
        metrics: `name, left, right, change` (Float64; right minus left) and `same`, which compares the exact numbers.
        equity: `timestamp`, and of each curve that both have `<curve>.left`, `<curve>.right` (Float64); all moments of both.
        data: `series` (`source:symbol resolution`), `left, right` (fingerprints), `kind`: same, changed, added or removed.
        environment: `name, left, right, same`.
        first_difference: the first moment at which a curve that both have differs or one is missing; None where there is none.
    """

    left: RunName
    right: RunName
    parameters: pl.DataFrame
    metrics: pl.DataFrame
    equity: pl.DataFrame
    data: pl.DataFrame
    environment: pl.DataFrame
    first_difference: Any

    @property
    def is_same(self) -> bool:
        """Whether parameters, metrics, equity and data are the same."""
        return bool(
            self.parameters["same"].all()
            and self.metrics["same"].all()
            and (self.data["kind"] == "same").all()
            and self.first_difference is None
        )


def compare(left: BacktestRun, right: BacktestRun) -> RunComparison:
    """Two loaded runs side by side."""
    equity, first = _equity(left.equity, right.equity)
    return RunComparison(
        left.name,
        right.name,
        _values(left.parameters, right.parameters),
        _metrics(left.metrics, right.metrics),
        equity,
        _data(left.data, right.data),
        _values(left.environment or {}, right.environment or {}),
        first,
    )


def content_differences(
    saved: BacktestRun, artifacts: Mapping[str, tuple[str, int]], given: BacktestRun
) -> pl.DataFrame:
    """What a run that is given says otherwise than the one that is saved: `part, name, saved, given`."""
    rows: list[tuple[str, str, str | None, str | None]] = []
    for part in ("parameters", "metrics", "seeds"):
        pair = getattr(saved, part), getattr(given, part)
        one, two = map(_texts, map(parts.plain_metrics, pair) if part == "metrics" else pair)
        rows += [
            (part, name, one.get(name), two.get(name))
            for name in sorted({*one, *two})
            if one.get(name) != two.get(name)
        ]
    for part, maker in (
        ("equity", parts.equity_part),
        ("fills", _events("fills")),
        ("positions", _events("positions")),
    ):
        frames = getattr(saved, part), getattr(given, part)
        described = [None if frame is None else maker(frame, part).contents for frame in frames]
        if described[0] != described[1]:
            rows.append((part, "rows", _describe(described[0]), _describe(described[1])))
    new = {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in given.artifacts.items()}
    for name in sorted({*artifacts, *new}):
        if artifacts.get(name) != new.get(name):
            before, after = (found[name][0] if name in found else None for found in (artifacts, new))
            rows.append(("artifacts", name, before, after))
    pins = [to_json([pinned_to_plain(PinnedData.of(pin)) for pin in run.data]) for run in (saved, given)]
    if pins[0] != pins[1]:
        rows.append(("data", "pins", pins[0], pins[1]))
    for part in ("markets", "state", "error"):
        texts = [_plain(getattr(run, part)) for run in (saved, given)]
        if texts[0] != texts[1]:
            rows.append((part, part, texts[0], texts[1]))
    return pl.DataFrame(rows, schema=_DIFFERENCES, orient="row")


def artifact_digests(text: str) -> dict[str, tuple[str, int]]:
    """SHA-256 and size of artifacts by name, from the row of a run."""
    return {name: (item["sha256"], item["bytes"]) for name, item in json.loads(text).items()}


def _events(what: str) -> Any:
    return lambda frame, where: parts.events_part(what, frame, where)


def _describe(contents: dict[str, Any] | None) -> str | None:
    if contents is None:
        return None
    return f"{contents['rows']:,} rows of {', '.join(name for name, _ in contents['columns'])}, digest {contents['digest'][:16]}"


def _plain(value: Any) -> str:
    if value is None or isinstance(value, str):
        return str(value)
    return ", ".join(sorted({value} if isinstance(value, str) else set(value)))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: to_json(value, name) for name, value in values.items()}


def _values(left: Mapping[str, Any], right: Mapping[str, Any]) -> pl.DataFrame:
    one, two = _texts(left), _texts(right)
    rows = [(name, one.get(name), two.get(name), one.get(name) == two.get(name)) for name in sorted({*one, *two})]
    return pl.DataFrame(rows, schema=_VALUES, orient="row")


def _metrics(left: Mapping[str, Any], right: Mapping[str, Any]) -> pl.DataFrame:
    rows = []
    for name in sorted({*left, *right}):
        one, two = left.get(name), right.get(name)
        floats = [None if value is None else float(value) for value in (one, two)]
        change = None if floats[0] is None or floats[1] is None else floats[1] - floats[0]
        same = one is not None and two is not None and to_json(from_json(to_json(one))) == to_json(two)
        rows.append((name, *floats, change, same))
    return pl.DataFrame(rows, schema=_METRICS, orient="row")


def _equity(left: pl.DataFrame | None, right: pl.DataFrame | None) -> tuple[pl.DataFrame, Any]:
    """All moments of both, and the first at which they differ."""
    if left is None or right is None:
        one = left if left is not None else right
        return pl.DataFrame(schema={"timestamp": INSTANT}), None if one is None or one.is_empty() else one["timestamp"][
            0
        ]
    shared = [name for name in left.columns if name in right.columns and name != "timestamp"]
    sides = []
    for side, frame in (("left", left), ("right", right)):
        chosen = frame.select("timestamp", *shared).rename({name: f"{name}.{side}" for name in shared})
        sides.append(
            chosen.with_columns(
                pl.col("timestamp").cast(INSTANT) if frame.schema["timestamp"] == pl.Date else "timestamp"
            ).with_columns(pl.lit(value=True).alias(side))
        )
    both = sides[0].join(sides[1], on="timestamp", how="full", coalesce=True).sort("timestamp")
    differs = pl.any_horizontal(
        pl.col("left").is_null(), pl.col("right").is_null(),
        *(~pl.col(f"{name}.left").eq_missing(pl.col(f"{name}.right")) for name in shared),
    )  # fmt: skip
    first = both.filter(differs)["timestamp"].min()
    ordered = [f"{name}.{side}" for name in shared for side in ("left", "right")]
    return both.select("timestamp", *(pl.col(name).cast(pl.Float64) for name in ordered)), first


def _data(left: Any, right: Any) -> pl.DataFrame:
    one, two = (
        {f"{name} {pin.resolution}": digest for pin in pins for name, digest in pin.series.items()}
        for pins in (left, right)
    )
    rows = []
    for name in sorted({*one, *two}):
        before, after = one.get(name), two.get(name)
        kind = "added" if before is None else "removed" if after is None else "same" if before == after else "changed"
        rows.append((name, before, after, kind))
    return pl.DataFrame(rows, schema=_DATA, orient="row")
