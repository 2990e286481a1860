"""This module has the threads for work that releases the interpreter: encoding and decoding files, and waiting for the disk.

Two pools live as long as the process: `leaf_pool` runs tasks that wait for no other, `side_pool` runs longer ones next to the
caller, which may themselves use `leaf_pool`. Making threads anew for each write would take longer than a small write.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

THREADS = min(4, os.cpu_count() or 1)

_pools: dict[str, ThreadPoolExecutor] = {}


def leaf_pool() -> ThreadPoolExecutor:
    """For tasks that wait for no other task."""
    return _pool("leaves", THREADS)


def side_pool() -> ThreadPoolExecutor:
    """For tasks that run next to the caller; they may use `leaf_pool`."""
    return _pool("beside", 16)


def _pool(name: str, threads: int) -> ThreadPoolExecutor:
    if name not in _pools:
        _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=f"gb {name}")
    return _pools[name]


# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pools.clear)
