"""What `gb doctor` looks at.

Belongs here: findings about the machine, the project and its sources, each with what to do about it. Does not belong here: the
lake (`lake_checks`), printing them. No check sends a request to a vendor, and none changes anything.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.output import count
from gb_pipeline.cli.readiness import readiness

if TYPE_CHECKING:
    from gb_pipeline.config.settings import Settings, SourceSettings

# Below this, a backfill of a few years of minutes or a compaction may not fit.
_LITTLE_SPACE = 5_000_000_000
_NO_SPACE = 200_000_000
_PACKAGES = ("polars", "pyarrow", "deltalake", "duckdb", "pandera", "exchange-calendars", "ccxt")
# They are released separately, and only work together at one patch.
_DAGSTER = ("dagster", "dagster-webserver", "dagster-graphql")


class CheckResult(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do."""

    check: str
    verdict: CheckResult
    detail: str
    fix: str = ""


def machine() -> Iterator[Finding]:
    """Python and the packages that everything stands on."""
    from importlib.metadata import PackageNotFoundError, version

    fine = (3, 11) <= sys.version_info < (3, 14)
    yield Finding(
        "python",
        CheckResult.OK if fine else CheckResult.FAIL,
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if fine else "use Python 3.11 to 3.13",
    )
    found: dict[str, str] = {}
    for name in (*_PACKAGES, *_DAGSTER):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Finding("packages", CheckResult.FAIL, f"{name} is not installed", "run `uv sync`")
    yield Finding("packages", CheckResult.OK, ", ".join(f"{name} {text}" for name, text in found.items()))
    patches = {found[name] for name in _DAGSTER if name in found}
    if len(patches) > 1:
        yield Finding("packages", CheckResult.FAIL, f"Dagster's parts differ: {sorted(patches)}", "run `uv sync`")


def project(settings: Settings) -> Iterator[Finding]:
    """gb.yaml, the lake's folder, the disk and Dagster's home."""
    series = sum(len(source.symbols) * len(source.resolutions) for source in settings.sources.values())
    yield Finding(
        "gb.yaml", CheckResult.OK, f"{settings.path}: {count(len(settings.sources), 'source')}, {series} series"
    )
    yield _writable("lake", settings.lake)
    yield _space(settings.lake)
    yield _writable("dagster home", settings.path.parent / ".dagster", absent="`gb up` makes it")
    if os.environ.get("DAGSTER_HOME"):
        yield _other_home(Path(os.environ["DAGSTER_HOME"]))


def _other_home(home: Path) -> Finding:
    """What `dagster dev` would use; `gb up` has its own."""
    if not home.is_absolute() or not home.is_dir():
        return Finding(
            "DAGSTER_HOME", CheckResult.FAIL, f"{home} is no absolute folder", "correct it; `gb up` does not need it"
        )
    if not (home / "dagster.yaml").is_file():
        return Finding(
            "DAGSTER_HOME", CheckResult.WARN, f"{home} has no dagster.yaml", "copy the project's there, or use `gb up`"
        )
    return Finding("DAGSTER_HOME", CheckResult.OK, f"{home}, for `dagster dev`")


def source(item: SourceSettings, state: Path) -> Finding:
    """Whether a source could be fetched from now, and why not; no request is sent.

    Args:
        item: the source.
        state: the folder in which used calls are counted; it need not be there.
    """
    found = readiness(item, state)
    verdict = (
        CheckResult.FAIL if found.problems else CheckResult.WARN if found.waits or found.remarks else CheckResult.OK
    )
    return Finding(f"source {item.name}", verdict, found.sentence, found.fix)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _writable(check: str, folder: Path, absent: str = "the first fetch makes it") -> Finding:
    there = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(check, CheckResult.FAIL, f"{there} cannot be written: {error.strerror}", "choose another folder")
    return Finding(check, CheckResult.OK, str(folder) if there == folder else f"{folder} is not there yet; {absent}")


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(_existing(folder)).free
    verdict = CheckResult.FAIL if free < _NO_SPACE else CheckResult.WARN if free < _LITTLE_SPACE else CheckResult.OK
    return Finding(
        "disk", verdict, f"{free / 1e9:.1f} GB free", "" if verdict is CheckResult.OK else "make room, or move the lake"
    )
