"""The same factors of the same daily bars by ours, polars-ta and pandas: Qlib's 14, and 12 indicators, in one run.

Each is a new process of one thread that imports, reads and computes: ours from a lake, where bars have versions and are verified,
theirs from one Parquet file of floats. Their means are compared. Without an index of packages nothing is measured.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.factors import FIRST, LAST, fill, in_new_process, run_alone
from benchmarks.measurement import Measurement
from benchmarks.peers.environment import PeersUnavailable, peers_python
from gb_pipeline import Lake, get_calendar

_FOLDER = Path(__file__).parent / "peers"
_SETS = {"qlib": "Qlib's 14 factors", "indicators": "12 indicators"}
_THEIRS = ("polars_ta", "pandas")


def measure(stocks: int = 200, turns: int = 3) -> Iterator[Measurement]:
    """Processor time of ours to that of the faster of the others: the least of some turns, imports left out and with them."""
    try:
        python = peers_python(_FOLDER / "polars_ta.txt")
    except PeersUnavailable as error:
        print(f"    {error}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory(prefix="gb-benchmark-") as folder:
        root, bars = Path(folder) / "data", Path(folder) / "bars.parquet"
        fill(root, stocks)
        columns = ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
        # The bars that ours has rows of: a row sees the bar of the session before.
        first, last = (get_calendar("XNYS").sessions(day - timedelta(days=9), day)[-1] for day in (FIRST, LAST))
        Lake.open(root).bars(None, "1d", first, last, columns=columns, as_float=True).write_parquet(bars)
        for chosen, title in _SETS.items():
            taken: dict[str, list[dict[str, Any]]] = {name: [] for name in ("ours", *_THEIRS)}
            for _ in range(turns):
                taken["ours"].append(in_new_process(chosen, root, stocks, str(FIRST)))
                for name in _THEIRS:
                    # `-P`: beside the script lie modules with names of the standard library's.
                    command = [str(python), "-P", str(_FOLDER / "polars_ta_factors.py"), name, chosen, str(bars)]
                    taken[name].append(run_alone(command))
            _compare({name: own[0]["means"] for name, own in taken.items()})
            least = {name: min(own, key=lambda each: each["cpu"] - each["imports"]) for name, own in taken.items()}
            working = {name: own["cpu"] - own["imports"] for name, own in least.items()}
            told = (
                f"{name} {working[name]:.1f} s and {own['imports']:.1f} s of imports" for name, own in least.items()
            )
            ratio = working["ours"] / min(working[name] for name in _THEIRS)
            yield Measurement(f"{title} of {stocks} stocks, 14 years", ratio, "x", "", None, ", ".join(told))


def _compare(means: dict[str, dict[str, float]]) -> None:
    """Raise where a factor is another number."""
    for name in _THEIRS:
        for factor, mean in means["ours"].items():
            if not math.isclose(mean, means[name][factor], rel_tol=1e-6, abs_tol=1e-9):
                raise ValueError(f"{factor}: ours has {mean}, {name} {means[name][factor]}")
