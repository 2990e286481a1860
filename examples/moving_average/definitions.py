"""Dagster loads this module: everything that gb.yaml asks for, and a backtest of every symbol beside its bars."""

import warnings

import dagster as dg
from backtests import build_backtest_assets, build_follow_sensor

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.series_group import SeriesGroup

settings = Settings.load()

with warnings.catch_warnings():
    # Dagster calls backfill policies and lenient partition mappings young; gb_pipeline pins Dagster to a patch.
    warnings.simplefilter("ignore", dg.PreviewWarning)
    warnings.simplefilter("ignore", dg.BetaWarning)
    backtests = build_backtest_assets(SeriesGroup.of(settings, "sim", "1m"), fast=30, slow=120)

defs = build_definitions(settings, assets=[backtests], sensors=[build_follow_sensor(backtests)])
