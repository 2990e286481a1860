"""Results of backtests: what was run, on which data, and what came out, in tables of the lake.

    >>> from gb_pipeline.research.results import BacktestRun, Results
    >>> results = Results.open("data")

This module has the public names and nothing else.
"""

from gb_pipeline.research.results.canonical import from_json
from gb_pipeline.research.results.comparison import RunComparison
from gb_pipeline.research.results.conditions import Condition, RunQuery
from gb_pipeline.research.results.querying import QueryPlan
from gb_pipeline.research.results.results import Results
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState
from gb_pipeline.research.results.writing import SaveOutcome, SaveReport

__all__ = [
    "BacktestRun", "Condition", "PinnedData", "QueryPlan", "Results", "RunComparison", "RunName", "RunQuery", "RunState",
    "SaveOutcome", "SaveReport", "from_json",
]  # fmt: skip
