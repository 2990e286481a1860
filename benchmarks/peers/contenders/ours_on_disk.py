"""The lake with answers that are kept in files, and not in memory: what a fresh process finds."""

from __future__ import annotations

from benchmarks.peers.contender import Contender
from benchmarks.peers.contenders.ours import Ours
from benchmarks.peers.questions import KINDS
from gb_pipeline import CacheOptions


class OursOnDisk(Ours):
    """It only reads what it wrote."""

    acts = KINDS | {"write"}
    cache = CacheOptions(0, disk=True)


def contender() -> Contender:
    return OursOnDisk()
