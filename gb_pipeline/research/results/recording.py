"""This module records a backtest while it runs: whatever Python code it is, and however it ends.

A run that ends with an exception is saved as failed, with what was recorded up to then, and the exception goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import polars as pl

from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.providers.http.redaction import scrub
from gb_pipeline.research.results.found import BacktestParts
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState
from gb_pipeline.research.results.writing import SaveReport

log = logging.getLogger(__name__)
_LONGEST_ERROR = 500


class Recording:
    """A run that is being recorded; see `Results.record`.

    Attributes:
        report: what became of it, once it has ended.
    """

    def __init__(
        self,
        save: Callable[[BacktestRun], SaveReport],
        clock: Callable[[], datetime],
        run: BacktestRun,
    ) -> None:
        """Use `Results.record`."""
        self._save, self._clock = save, clock
        self._run = run
        self._metrics: dict[str, Any] = dict(run.metrics)
        self._artifacts: dict[str, bytes] = dict(run.artifacts)
        self._tags: list[str] = list(run.tags)
        self._timings: dict[str, float] = dict(run.timings)
        self._frames: dict[str, list[pl.DataFrame]] = {"equity": [], "fills": [], "positions": []}
        self._rows: dict[str, list[Mapping[str, Any]]] = {"equity": [], "fills": [], "positions": []}
        self.report: SaveReport | None = None

    @property
    def name(self) -> RunName:
        """Of the run."""
        return self._run.name

    def __enter__(self) -> Self:
        """Begin."""
        self._started = self._clock()
        return self

    def log_metric(self, name: str, value: Any) -> None:
        """A number: float, int or Decimal; one of the same name is replaced."""
        self._metrics[name] = value

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Several numbers by name."""
        self._metrics |= metrics

    def log_equity(self, timestamp: datetime, **values: Any) -> None:
        """Values of curves at a moment: `run.log_equity(now, equity=101.5, cash=3.0)`."""
        self._rows["equity"].append({"timestamp": timestamp, **values})

    def log_fill(self, timestamp: datetime, symbol: str, quantity: Any, price: Any, **more: Any) -> None:
        """One fill, with any of `side, fee, currency, order_id`."""
        self._rows["fills"].append(
            {"timestamp": timestamp, "symbol": symbol, "quantity": quantity, "price": price, **more}
        )

    def log_position(self, timestamp: datetime, symbol: str, quantity: Any, **more: Any) -> None:
        """One position at a moment, with any of `price, value, cost_basis`."""
        self._rows["positions"].append({"timestamp": timestamp, "symbol": symbol, "quantity": quantity, **more})

    def add_equity(self, frame: pl.DataFrame) -> None:
        """Curves as a frame: `timestamp` and a column for each."""
        self._frames["equity"].append(frame)

    def add_fills(self, frame: pl.DataFrame) -> None:
        """Fills as a frame, see `BacktestRun`."""
        self._frames["fills"].append(frame)

    def add_positions(self, frame: pl.DataFrame) -> None:
        """Positions as a frame, see `BacktestRun`."""
        self._frames["positions"].append(frame)

    def add_artifact(self, name: str, data: bytes | str | Path) -> None:
        """Bytes, text or the content of a file, under a name."""
        if isinstance(data, Path):
            data = data.read_bytes()
        self._artifacts[name] = data.encode() if isinstance(data, str) else data

    def add_tag(self, *tags: str) -> None:
        """Tags to find the run by."""
        self._tags += tags

    def log_timing(self, name: str, seconds: float) -> None:
        """How long a part of it took."""
        self._timings[name] = seconds

    def add(self, part: BacktestParts) -> None:
        """Everything that an adapter made of another tool's result."""
        self.log_metrics(part.metrics)
        self._artifacts |= part.artifacts
        for what in self._frames:
            frame = getattr(part, what)
            if frame is not None:
                self._frames[what].append(frame)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Save it; an exception goes on."""
        if error is None:
            self.report = self._save(self._finished(RunState.SUCCEEDED, None))
            return
        try:
            self.report = self._save_failed(error)
        except GbError as trouble:
            # What went wrong first matters more.
            log.error("failed run %s could not be saved: %s", self.name, trouble)
            error.add_note(f"the failed run {self.name} could not be saved: {trouble.what}")

    def _save_failed(self, error: BaseException) -> SaveReport:
        told = describe_error(error)
        try:
            run = self._finished(RunState.FAILED, told)
            kept = {what: frame.height for what in self._frames if (frame := getattr(run, what)) is not None}
            names = ", ".join(f"{what} ({rows:,} rows)" for what, rows in kept.items())
            return self._save(replace(run, error=f"{told}; kept: {names or 'no rows'}"))
        except GbError as trouble:
            # Of rows that cannot be kept, at least that the run failed is.
            bare = replace(
                self._run, state=RunState.FAILED, error=f"{told}; not kept: {trouble.what[:200]}", tags=self._tags,
                started_at=self._started, finished_at=self._clock(),
            )  # fmt: skip
            return self._save(bare)

    def _finished(self, state: RunState, error: str | None) -> BacktestRun:
        ended = self._clock()
        seconds = (ended - self._started).total_seconds()
        frames: dict[str, Any] = {what: frame for what in self._frames if (frame := self._frame(what)) is not None}
        return replace(
            self._run, metrics=self._metrics, artifacts=self._artifacts, tags=self._tags, state=state, error=error,
            timings={"total": seconds, **self._timings}, started_at=self._started, finished_at=max(ended, self._started), **frames,
        )  # fmt: skip

    def _frame(self, what: str) -> pl.DataFrame | None:
        frames = list(self._frames[what])
        if self._rows[what]:
            try:
                frames.append(pl.DataFrame(self._rows[what], infer_schema_length=None))
            except (pl.exceptions.PolarsError, TypeError) as error:
                raise ConfigError(
                    f"rows of {what} do not have one type per column: {error}", fix="log the same type each time"
                ) from error
        if not frames:
            return None
        try:
            return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal")
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"frames of {what} do not fit together: {error}", fix="use the same types") from error


def describe_error(error: BaseException) -> str:
    """Kind and first line of an error, without what looks like a credential."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in scrub(text))[:_LONGEST_ERROR]


def new_run_id(now: datetime) -> str:
    """A run id that sorts by time: `20240102T030405-1a2b3c`."""
    return f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def pins_of(data: object) -> list[PinnedData]:
    """One pin or several, as data of a run."""
    if data is None:
        return []
    listed: Sequence[object] = data if isinstance(data, list | tuple) else [data]
    return [PinnedData.of(item) for item in listed]
