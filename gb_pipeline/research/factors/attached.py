"""`AttachedPipeline`, the numbers of a pipeline for a strategy: a session's exist from its opening on."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from gb_pipeline.errors import LookAhead, NoDataInRange
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.reading.arguments import Moment, required_moment
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.run import open_run

# Sessions that are computed in one go and held.
_HELD = 126


class AttachedPipeline:
    """The output of a pipeline, session by session.

    Example:
        >>> clock = SimulationClock("2024-01-02T14:30Z")
        >>> factors = AttachedPipeline(pipeline, clock, "2024-01-02", source="yahoo")
        >>> factors.output().sort("momentum")["symbol"][-1]
        'NVDA'
    """

    def __init__(
        self, pipeline: Pipeline, clock: SimulationClock, start: Moment, end: Moment | None = None, **options: Any
    ) -> None:
        """Nothing is computed yet.

        Args:
            pipeline: what is computed.
            clock: the present of the simulation; may be shared with portals.
            start, end: the sessions that will be asked for; earlier and later ones are not there.
            options: `lake`, `universe`, `source` and the others of `run_pipeline`.

        Raises:
            ConfigError, UnknownSeries: as `run_pipeline`.
        """
        self.clock = clock
        self._run = open_run(pipeline, start, end, **options)
        self._parts = self._run.parts(_HELD)
        self._held: dict[date, pl.DataFrame] = {}

    def output(self, session: Moment | None = None) -> pl.DataFrame:
        """The rows of a session.

        Args:
            session: by default the newest one that has opened by the clock.

        Returns:
            `symbol` and a column per term, sorted by symbol; without rows where the screen left none.

        Raises:
            LookAhead: the session has not opened yet.
            NoDataInRange: it is none, or lies outside of `start` and `end`.
        """
        newest = self._run.newest_open(self.clock.microseconds)
        day = newest if session is None else required_moment(session).date()
        if day is None:
            raise NoDataInRange("no session of the pipeline has opened yet", fix="start it earlier, or the clock later")
        if day not in self._run.sessions:
            raise NoDataInRange(f"{day} is no session of this pipeline", fix="`start` and `end` say which are computed")
        if newest is None or day > newest:
            raise LookAhead(
                f"the session {day} has not opened at {self.clock.now.isoformat()}",
                fix="ask for it once the clock has reached its opening",
            )
        if day not in self._held:
            self._forward(day)
        return self._held[day]

    def _forward(self, day: date) -> None:
        if self._held and day < min(self._held):
            # A clock goes forwards only; whoever asks for the past again has it computed again.
            self._parts = self._run.parts(_HELD)
        for sessions, frame in self._parts:
            if day not in sessions:
                continue
            rows = {key: part.drop("session") for (key,), part in frame.partition_by("session", as_dict=True).items()}
            nothing = frame.clear().drop("session")
            self._held = {each: rows.get(each, nothing) for each in sessions}
            return
