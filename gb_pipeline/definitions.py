"""Dagster loads this module: `dagster dev`, `dg dev`, `gb up`, `gb demo` and every run worker import it.

It holds the one object that Dagster looks for, and decides nothing of what is in it. Which gb.yaml is read is up to
`GB_CONFIG`, or the working directory. A project that adds assets of its own has a `definitions.py` beside its gb.yaml instead.
"""

from __future__ import annotations

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions

defs = build_definitions(Settings.load())
