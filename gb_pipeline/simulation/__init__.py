"""A loopback exchange that speaks real vendors' protocols: the demo's source and the tests' vendor.

Belongs here: a deterministic market, the defects that can be planted in it, and the vendors' own HTTP dialects.
Does not belong here: anything that the rest of the package needs to work with a real vendor. It never leaves 127.0.0.1.
"""

from __future__ import annotations

from gb_pipeline.simulation.server import Simulation, run

__all__ = ["Simulation", "run"]
