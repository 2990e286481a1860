"""This module holds what a standing check says: a state, a sentence, counts, a sample, and the command that repairs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl

# Rows of a sample: results are kept for ever by Dagster, the whole is in the lake.
SAMPLE = 20


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"
    """There is nothing to look at, such as a Dagster that was never started."""


@dataclass(frozen=True)
class HealthResult:
    """What one check found.

    Attributes:
        name: of the check, such as `missing_sessions`.
        state: how it is.
        sentence: what was found.
        count: how much of it is wrong; 0 where nothing is.
        counts: further numbers by name.
        sample: the worst of it, at most `SAMPLE` rows; any columns.
        repair: the command that repairs it; empty where no command does.
        advice: what else can be done, or is to be looked at first.

    Example:
        >>> HealthResult("disk", State.OK, "96.2 GB free").healthy
        True
    """

    name: str
    state: State
    sentence: str
    count: int = 0
    counts: Mapping[str, int | float] = field(default_factory=dict)
    sample: pl.DataFrame = field(default_factory=pl.DataFrame, repr=False)
    repair: str = ""
    advice: str = ""

    @property
    def healthy(self) -> bool:
        """Whether nobody has to do anything."""
        return self.state in {State.OK, State.SKIPPED}

    @property
    def what_to_do(self) -> str:
        """The command and the advice, in one line; empty where all is well."""
        command = f"`{self.repair}`" if self.repair else ""
        return "; ".join(part for part in (command, self.advice) if part)
