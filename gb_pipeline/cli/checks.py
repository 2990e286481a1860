"""`gb doctor`'s checks of the machine, the project and its sources, each with what to do about a problem.

No check sends a request to a vendor, and none changes anything. The checks of the lake are in `lake_checks`.
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

from gb_pipeline.cli.readiness import assess_readiness
from gb_pipeline.errors import GbError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.collect import StreamSettings
    from gb_pipeline.config.settings import Settings, SourceSettings

# Below this, a backfill of a few years of minutes or a compaction may not fit.
_LITTLE_SPACE = 5_000_000_000
_NO_SPACE = 200_000_000
_PACKAGES = ("polars", "pyarrow", "deltalake", "duckdb", "pandera", "ccxt")
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
    result: CheckResult
    detail: str
    fix: str = ""


def check_machine() -> Iterator[Finding]:
    """Python and the packages that everything stands on."""
    from importlib.metadata import PackageNotFoundError, version

    supported = (3, 11) <= sys.version_info < (3, 14)
    yield Finding(
        "python",
        CheckResult.OK if supported else CheckResult.FAIL,
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "" if supported else "use Python 3.11 to 3.13",
    )
    versions: dict[str, str] = {}
    for name in (*_PACKAGES, *_DAGSTER):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            yield Finding("packages", CheckResult.FAIL, f"{name} is not installed", "run `uv sync`")
    yield Finding("packages", CheckResult.OK, ", ".join(f"{name} {number}" for name, number in versions.items()))
    patches = {versions[name] for name in _DAGSTER if name in versions}
    if len(patches) > 1:
        yield Finding("packages", CheckResult.FAIL, f"Dagster's parts differ: {sorted(patches)}", "run `uv sync`")


def check_project(settings: Settings) -> Iterator[Finding]:
    """gb.yaml, the lake's folder, the disk and Dagster's home."""
    series = sum(len(source.symbols) * len(source.resolutions) for source in settings.sources.values())
    where = settings.path.parent / settings.written_in
    what = f"{where}: {format_count(len(settings.sources), 'source')}, {series} series"
    if streams := len(settings.collect.streams):
        what += f", {format_count(streams, 'stream')} to collect"
    if settings.sources or streams:
        yield Finding("gb.yaml", CheckResult.OK, what)
    else:
        yield Finding("gb.yaml", CheckResult.WARN, what, "add a source; `gb init FOLDER` writes examples")
    if isinstance(settings.lake, Path):
        yield _check_writable("lake", settings.lake)
    yield _check_space(settings.state)
    yield _check_writable("dagster home", settings.path.parent / ".dagster", if_missing="`gb up` creates it")
    if os.environ.get("DAGSTER_HOME"):
        yield _check_other_home(Path(os.environ["DAGSTER_HOME"]))
    if settings.iceberg:
        yield _check_iceberg()


def _check_iceberg() -> Finding:
    from gb_pipeline.errors import ConfigError
    from gb_pipeline.iceberg.exported import require_pyiceberg

    try:
        require_pyiceberg()
    except ConfigError as error:
        return Finding("iceberg", CheckResult.FAIL, error.what, error.fix)
    return Finding("iceberg", CheckResult.OK, "tables of the bars are refreshed with the catalog")


def _check_other_home(home: Path) -> Finding:
    """What `dagster dev` would use; `gb up` has its own."""
    if not home.is_absolute() or not home.is_dir():
        return Finding(
            "DAGSTER_HOME",
            CheckResult.FAIL,
            f"{home} is not an absolute folder",
            "correct it; `gb up` does not need it",
        )
    if not (home / "dagster.yaml").is_file():
        return Finding(
            "DAGSTER_HOME", CheckResult.WARN, f"{home} has no dagster.yaml", "copy the project's there, or use `gb up`"
        )
    return Finding("DAGSTER_HOME", CheckResult.OK, f"{home}, for `dagster dev`")


def check_source(source: SourceSettings, state: Path) -> Finding:
    """Whether a source could be fetched from now, and why not; no request is sent.

    Args:
        source: the source.
        state: the folder in which used calls are counted; it need not be there.
    """
    assessment = assess_readiness(source, state)
    warnings = assessment.waits or assessment.remarks
    result = CheckResult.FAIL if assessment.problems else CheckResult.WARN if warnings else CheckResult.OK
    return Finding(f"source {source.name}", result, assessment.sentence, assessment.fix)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _check_writable(check: str, folder: Path, if_missing: str = "the first fetch creates it") -> Finding:
    existing = _nearest_existing(folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(
            check, CheckResult.FAIL, f"{existing} cannot be written: {error.strerror}", "choose another folder"
        )
    return Finding(
        check, CheckResult.OK, str(folder) if existing == folder else f"{folder} does not exist yet; {if_missing}"
    )


def _check_space(folder: Path) -> Finding:
    free = shutil.disk_usage(_nearest_existing(folder)).free
    result = CheckResult.FAIL if free < _NO_SPACE else CheckResult.WARN if free < _LITTLE_SPACE else CheckResult.OK
    return Finding(
        "disk", result, f"{free / 1e9:.1f} GB free", "" if result is CheckResult.OK else "make room, or move the lake"
    )


def check_stream(name: str, stream: StreamSettings) -> Finding:
    """Whether a collector could hear a stream, and why not; no request is sent."""
    from gb_pipeline.collectors.planned import find_credentials, plan_stream

    title = f"stream {name}"
    try:
        planned = plan_stream(name, stream)
    except GbError as error:
        return Finding(title, CheckResult.FAIL, error.what, error.fix)
    missing = [option for option, is_set in find_credentials(planned).items() if not is_set]
    if missing:
        return Finding(
            title, CheckResult.FAIL, f"no credential: {', '.join(missing)}", "set the variables that its options name"
        )
    heard = format_count(len(planned.subscriptions), "subscription")
    return Finding(title, CheckResult.OK, f"{heard} over {format_count(len(planned.connections), 'connection')}")
