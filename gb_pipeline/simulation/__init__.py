"""A loopback exchange that speaks real vendors' protocols: the demo's source and the tests' vendor.

It has a deterministic market, defects that can be planted in it, and the vendors' own HTTP dialects. It never leaves 127.0.0.1,
and nothing that works with a real vendor needs it.
"""

from __future__ import annotations

from gb_pipeline.simulation.server import Simulation, run

__all__ = ["Simulation", "run"]
