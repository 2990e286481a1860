"""Results of other tools' backtests as parts of a run, which `Recording.add` takes.

    >>> with results.record("momentum", "1.0", data=pin) as run:
    ...     run.add(from_backtrader(cerebro.run()[0]))

None of the tools is imported here: what they return is read by its public attributes.
"""

from gb_pipeline.research.results.adapters.backtrader import from_backtrader
from gb_pipeline.research.results.adapters.mlflow import export_to_mlflow
from gb_pipeline.research.results.adapters.vectorbt import from_vectorbt
from gb_pipeline.research.results.adapters.zipline import from_zipline

__all__ = ["export_to_mlflow", "from_backtrader", "from_vectorbt", "from_zipline"]
