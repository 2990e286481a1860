"""Dagster loads this module: the backtests, the bars that they read, and how they reach the lake."""

import warnings

import dagster as dg

from breakout.assets import build_backtest
from breakout.market import BARS, LAKE, SYMBOLS
from breakout.portfolio import portfolio
from gb_pipeline import LakeIOManager
from gb_pipeline.orchestration.resources import LakeResource

with warnings.catch_warnings():
    # Dagster calls backfill policies and lenient partition mappings young; gb_pipeline pins Dagster to a patch.
    warnings.simplefilter("ignore", dg.PreviewWarning)
    warnings.simplefilter("ignore", dg.BetaWarning)
    backtests = [build_backtest(symbol) for symbol in SYMBOLS]
    follow = dg.AutomationConditionSensorDefinition(
        "backtests_follow_the_market",
        target=dg.AssetSelection.assets(*(key for asset in backtests for key in asset.keys)),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the backtests of the newest session after the other project has stored its bars.",
    )
    defs = dg.Definitions(
        assets=[*BARS, *backtests, portfolio],
        sensors=[follow],
        resources={"lake": LakeResource(root=LAKE), "bars_io": LakeIOManager(root=LAKE)},
        executor=dg.in_process_executor,
    )
