"""Another library's numbers of the bars that a lake has, computed in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.peers.environment import peers_python
from gb_pipeline import Lake, Pipeline, run_pipeline, window_factor
from gb_pipeline.research.factors.terms import Factor, Term

HERE = Path(__file__).parent


def compute_both(
    lake: Lake, terms: Mapping[str, Term], script: str, requirements: Path, folder: Path
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of ours and of theirs for the same symbols and sessions.

    A script is called with the bars of all symbols and with where its numbers go: a row per bar, in their order. Row by row ours is
    that of the session behind the bar, which sees it.
    """
    bars = lake.bars(None, "1d", as_float=True).sort("symbol", "timestamp")
    bars.write_parquet(folder / "bars.parquet")
    command = [peers_python(requirements), HERE / script, folder / "bars.parquet", folder / "out.parquet"]
    subprocess.run(command, check=True)
    first = bars["timestamp"].min().date() + timedelta(days=1)  # type: ignore[union-attr]
    ours = run_pipeline(Pipeline(terms), first, None, lake=lake, calendar="XNYS", adjustment=None)
    theirs = pl.read_parquet(folder / "out.parquet")
    assert ours.height == theirs.height == bars.height
    return ours.sort("symbol", "session"), theirs.with_columns(bars["symbol"])


def share_alike(ours: pl.DataFrame, theirs: pl.DataFrame, name: str, *, behind: int) -> float:
    """The share of numbers that agree to six digits, those of the first sessions of each symbol left out."""
    place = pl.int_range(pl.len()).over("symbol")
    a = ours.filter(place >= behind)[name].cast(pl.Float64).to_numpy()
    b = theirs.filter(place >= behind)[name].cast(pl.Float64).to_numpy()
    assert np.isfinite(b).all(), name
    return float(np.isclose(a, b, rtol=1e-6, atol=1e-6).mean())


def since_newest_largest(term: Factor, window: int) -> Factor:
    """How many sessions ago the largest number of a window was; the newest of several, where `rolling_argmax` takes the first."""
    return window_factor(lambda own: own[:, ::-1].argmax(axis=1).astype(float), [term], window)
