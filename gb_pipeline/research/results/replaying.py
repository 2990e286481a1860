"""This module runs a backtest again on the data that its run has pinned, and compares what comes out.

It refuses where the data are not as they were, and names the bars that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import polars as pl

from gb_pipeline.errors import ConfigError, PinRefused
from gb_pipeline.reading.bar_reader import BarReader
from gb_pipeline.research.results.comparison import content_differences
from gb_pipeline.research.results.run import BacktestRun, PinnedData

PARTS = ("metrics", "equity", "fills", "positions")
# A backtest: the run that is repeated, with its parameters and seeds, and a reader of each pin by name.
Backtest = Callable[[BacktestRun, Mapping[str, BarReader]], BacktestRun | Mapping[str, Any]]


class ReplaysPins(Protocol):
    """A lake, here or on another machine."""

    def replay(self, pin: str) -> BarReader:
        """A reader of what a pin names, its `pin`, once every bar was compared."""
        ...


@dataclass(frozen=True)
class RunReplay:
    """What came out when a run was repeated.

    Attributes:
        saved: the run as it was saved.
        repeated: the same with what came out now.
        differences: `part, name, saved, given`, a row for each difference; none where everything is the same.
    """

    saved: BacktestRun
    repeated: BacktestRun
    differences: pl.DataFrame

    @property
    def is_same(self) -> bool:
        """Whether everything that came out is the same to the digit."""
        return self.differences.is_empty()


def open_data(lake: ReplaysPins, run: BacktestRun) -> dict[str, BarReader]:
    """A reader of each pin of a run, by name, once every bar was compared.

    Raises:
        PinRefused: bars are not as they were (`differences` lists them), or the pin of that name names something else now.
        ConfigError: the run has no pins, or one of them was forgotten.
    """
    if not run.data:
        raise ConfigError(
            f"run {run.name} names no data", fix="record runs with data=lake.pin(...), so that they can be repeated"
        )
    return {pinned.pin: _open(lake, run, pinned) for pinned in run.data}


def repeat(
    lake: ReplaysPins, run: BacktestRun, artifacts: Mapping[str, tuple[str, int]], function: Backtest
) -> RunReplay:
    """Run a backtest again on the same data.

    Raises:
        PinRefused, ConfigError: as `open_data`, before the function is called.
    """
    found = function(run, open_data(lake, run))
    if not isinstance(found, BacktestRun):
        unknown = sorted(set(found) - set(PARTS))
        if unknown:
            raise ConfigError(
                f"a backtest cannot return {unknown[0]!r:.40}",
                fix=f"return any of {', '.join(PARTS)}, or a BacktestRun",
            )
        found = replace(run, **{name: found.get(name, getattr(run, name)) for name in PARTS})
    given = replace(run, **{name: getattr(found, name) for name in PARTS})
    differences = content_differences(run, artifacts, given)
    return RunReplay(run, given, differences.filter(pl.col("part").is_in(PARTS)))


def _open(lake: ReplaysPins, run: BacktestRun, pinned: PinnedData) -> BarReader:
    reader = lake.replay(pinned.pin)
    found = PinnedData.of(reader)
    if found.fingerprint != pinned.fingerprint:
        rows = [
            (name, pinned.series.get(name), found.series.get(name))
            for name in sorted({*pinned.series, *found.series})
            if pinned.series.get(name) != found.series.get(name)
        ]
        kinds = {"series": pl.String(), "then": pl.String(), "now": pl.String()}
        raise PinRefused(
            f"run {run.name} read other data: pin {pinned.pin!r} has changed, in {rows[0][0] if rows else 'its sessions'}",
            differences=pl.DataFrame(rows, schema=kinds, orient="row"),
            fix="restore the pin that the run names; it was made anew since",
        )
    return reader
