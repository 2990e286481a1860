"""Runs a snippet of the documentation in the environment of another engine; the lake's answers are handed over as files.

Called with the engine's name, the snippet's file and the folder of answers; the last line on stdout is JSON.
"""

import json
import sys
from pathlib import Path

import polars as pl


class Answers:
    """Stands where the snippet says `lake`: what the lake answered to these calls."""

    def __init__(self, folder):
        self._folder = folder

    def pandas(self, *_, **__):
        frame = pl.read_parquet(self._folder / "pandas.parquet").to_pandas()
        return frame.set_index("timestamp")

    def wide(self, *_, **__):
        return pl.read_parquet(self._folder / "wide.parquet")


engine, snippet, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
names = {"lake": Answers(folder), "__name__": "__main__"}
exec(compile(snippet.read_text(encoding="utf-8"), str(snippet), "exec"), names)
if engine == "backtrader":
    strategy = names["strategy"]
    closes = [strategy.data.close.array[i] for i in range(len(strategy.data.close.array))]
    told = {"closes": closes, "signals": [[str(at), close, way] for at, close, way in strategy.signals]}
else:
    told = {name: float(value) for name, value in names["portfolio"].total_return().items()}
print(json.dumps(told))
