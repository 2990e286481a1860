"""Dagster loads this module: everything that the gb.yaml beside it asks for, whatever folder Dagster was started in."""

from pathlib import Path

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions

defs = build_definitions(Settings.load(Path(__file__).parent))
