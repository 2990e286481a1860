"""This module runs the standing checks of a lake, and turns whatever stops one of them into its result.

What each looks at is in a module of its own. Nothing is fetched or changed, and no file of bars is opened except those that hold
restated versions of sources with a budget for them, and daily bars that one source has adjusted and another one as traded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from gb_pipeline.errors import GbError
from gb_pipeline.health import bars, care, machine, prices, sessions, streams, upkeep
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult, State


@dataclass(frozen=True)
class Check:
    """One standing check.

    Attributes:
        meaning: what it looks for, for Dagster's page and the documentation.
        look: examines.
        cheap: whether it may run every hour.
    """

    meaning: str
    look: Callable[[ProjectState], HealthResult]
    cheap: bool = False


# In the order in which a person reads them: what is not there, what is wrong, what is left undone, the machine.
CHECKS: Mapping[str, Check] = {
    "missing_sessions": Check(
        "Every session of every series that has closed and settled is stored, by the calendar of its source.",
        sessions.find_missing,
        cheap=True,
    ),
    "failed_sessions": Check(
        "No session is left whose fetch failed or whose rows were refused.", sessions.find_failed, cheap=True
    ),
    "open_gaps": Check("No bars are missing for long that nothing explains.", sessions.find_open_gaps),
    "given_up": Check("No session was asked for again as often as `healing` says, and in vain.", upkeep.find_given_up),
    "restatements": Check(
        "No source restated a larger share of a month than its `restatement_budget`.", bars.find_restated
    ),
    "quarantine": Check("Few refused rows wait for somebody to decide about them.", bars.find_refused),
    "adjusted_prices": Check(
        "Prices that a vendor adjusted are those that another source's splits and dividends make of its prices as traded.",
        prices.find_other_factors,
    ),
    "collector": Check(
        "The collector of this machine runs, hears everything that gb.yaml names, and can store it.",
        streams.find_silent_collector,
        cheap=True,
    ),
    "stream_watermarks": Check(
        "What collectors hear is committed in time, whichever machine hears it.",
        streams.find_late_watermarks,
        cheap=True,
    ),
    "stream_coverage": Check(
        "Evidence covers the last day of every stream, up to `uncovered_budget`.", streams.find_uncovered, cheap=True
    ),
    "small_files": Check("Compaction keeps up: few partitions consist of many files.", care.find_crowded),
    "verification": Check("The whole lake was verified lately, and nothing was damaged.", care.find_unverified),
    "restore_test": Check(
        "The backup was restored lately, to see whether it can be, and nothing was damaged.",
        upkeep.find_untested_backup,
    ),
    "catalog": Check("The catalog says what the logs of the tables say, and all of them can be read.", care.find_stale),
    "vendor_quota": Check("Vendors' calls of the day are not used up.", machine.find_used_quota, cheap=True),
    "disk": Check("There is room on the disk.", machine.find_full_disk, cheap=True),
    "clock": Check(
        "The clock of this machine is not behind what the lake holds.", machine.find_lying_clock, cheap=True
    ),
}


def examine(state: ProjectState, names: Iterable[str] = ()) -> Iterator[HealthResult]:
    """Run checks, one after the other.

    Args:
        state: the project and its lake.
        names: of checks; all by default.

    Returns:
        A result for each, in their order. What stops a check, such as a damaged table, is its result: `fail`.

    Example:
        >>> [result.name for result in examine(state, ["disk"])]
        ['disk']
    """
    for name in names or CHECKS:
        yield examine_one(state, name, CHECKS[name].look)


def examine_one(state: ProjectState, name: str, look: Callable[[ProjectState], HealthResult]) -> HealthResult:
    """Run one check; an error of ours, or of the disk, is its result."""
    try:
        return look(state)
    except GbError as error:
        return HealthResult(name, State.FAIL, f"it cannot be told: {error.what}", 1, advice=error.fix)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        problem = f"it cannot be told: {place}{error.strerror or error}"
        return HealthResult(name, State.FAIL, problem, 1, repair="gb doctor")
