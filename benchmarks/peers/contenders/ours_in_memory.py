"""The lake with answers that are kept in memory, as it is opened by default."""

from __future__ import annotations

from benchmarks.peers.contender import Contender
from benchmarks.peers.contenders.ours import Ours
from benchmarks.peers.questions import KINDS
from gb_pipeline import CacheOptions


class OursInMemory(Ours):
    """It only reads what it wrote."""

    acts = KINDS | {"write"}
    cache = CacheOptions()


def contender() -> Contender:
    return OursInMemory()
