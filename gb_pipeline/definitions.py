"""What Dagster loads: `dagster dev`, `dg dev`, `gb up`, `gb demo` and every run worker import this module.

Belongs here: the one object that Dagster looks for. Does not belong here: anything that decides what is in it. Which gb.yaml
is read is up to `GB_CONFIG`, or the working directory.
"""

from __future__ import annotations

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions

defs = build_definitions(Settings.load())
