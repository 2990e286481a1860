"""Results of backtests: what was run, on which data, and what came out, in tables of the lake.

    >>> from gb_pipeline.research.results import BacktestRun, Results
    >>> results = Results.open("data")

This module has the public names and nothing else.
"""

from gb_pipeline.research.results.canonical import from_json
from gb_pipeline.research.results.comparison import RunComparison
from gb_pipeline.research.results.conditions import Condition, RunQuery
from gb_pipeline.research.results.lineage import Lineage
from gb_pipeline.research.results.purging import PurgeReport
from gb_pipeline.research.results.querying import QueryPlan
from gb_pipeline.research.results.recording import Recording
from gb_pipeline.research.results.replaying import RunReplay
from gb_pipeline.research.results.results import Results
from gb_pipeline.research.results.run import BacktestRun, PinnedData, RunName, RunState
from gb_pipeline.research.results.spooled import SpooledWriter
from gb_pipeline.research.results.writing import SaveOutcome, SaveReport

__all__ = [
    "BacktestRun",
    "Condition",
    "Lineage",
    "PinnedData",
    "PurgeReport",
    "QueryPlan",
    "Recording",
    "Results",
    "RunComparison",
    "RunName",
    "RunQuery",
    "RunReplay",
    "RunState",
    "SaveOutcome",
    "SaveReport",
    "SpooledWriter",
    "from_json",
]
