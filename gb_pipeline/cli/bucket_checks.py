"""`gb doctor`'s checks of an object store: that it can be reached, how fast it answers, and that it keeps conditions.

A few small objects are written under `doctor/` of the lake's prefix and removed again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from gb_pipeline.cli.checks import CheckResult, Finding

if TYPE_CHECKING:
    from gb_pipeline.config.bucket import Bucket

# Median of this many requests of each kind.
_TRIES = 5
# Slower than this, and a lake of many small files is a pain.
_SLOW_SECONDS = 0.5


def check_bucket(bucket: Bucket) -> Iterator[Finding]:
    """Whether a lake can be stored there, and what a request takes.

    Args:
        bucket: with its credentials.
    """
    from gb_pipeline.storage.bucket_files import BucketFiles

    files, name = BucketFiles(bucket), f"doctor/{secrets.token_hex(6)}"
    try:
        if files.ignores_conditions(name, b"doctor"):
            yield Finding(
                "lake",
                CheckResult.FAIL,
                f"{bucket} ignores the condition that an object must not be there yet, so writers could overwrite each other",
                "use a store that keeps `If-None-Match: *`, or a newer release of this one",
            )
            return
        seconds = {
            "read": _measure(lambda: files.read(name)),
            "write": _measure(lambda: files.put(name, b"doctor")),
            "look": _measure(lambda: files.size(name)),
        }
    except OSError as error:
        yield Finding("lake", CheckResult.FAIL, str(error.strerror or error), "correct `lake` and `s3` in gb.yaml")
        return
    finally:
        with suppress(OSError):
            files.delete(name)
    said = ", ".join(f"{kind} {value * 1000:.0f} ms" for kind, value in seconds.items())
    slow = max(seconds.values()) > _SLOW_SECONDS
    detail = f"{bucket} keeps conditional puts; median of {_TRIES} requests: {said}"
    fix = "compute nearer to the bucket; every read and write takes several requests" if slow else ""
    yield Finding("lake", CheckResult.WARN if slow else CheckResult.OK, detail, fix)


def _measure(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_TRIES // 2]
