"""This module runs a fetch for `gb fetch` and `gb update`: from what is missing to what became of it.

What is missing is found in `ingest.backlog`, and how much work it is in `ingest.planner`. The fetching itself is in `ingest.bars`,
the code that Dagster's assets run as well. Here are progress, Ctrl-C, and who has to know afterwards: the catalog, and the
project's Dagster.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gb_pipeline.cli.output import print_error
from gb_pipeline.cli.progress import progress
from gb_pipeline.cli.running import stoppable
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from datetime import date

    from gb_pipeline.config.settings import Settings
    from gb_pipeline.ingest.backlog import Backlog
    from gb_pipeline.ingest.job import Chunk, Outcome
    from gb_pipeline.lake.store import LakeStore


@dataclass
class Fetching:
    """Fetches backlogs into one project's lake.

    Attributes:
        settings: of the project.
        store: its lake.
        quiet: print nothing but errors.
    """

    settings: Settings
    store: LakeStore
    quiet: bool = False

    def run(self, backlog: Backlog) -> list[Outcome]:
        """Fetch what is missing, with progress.

        Raises:
            KeyboardInterrupt, SystemExit: it was stopped; by then everything that had come is stored, and what that is was said.
            ConfigError, LakeError: as `ingest` does.
        """
        from gb_pipeline.ingest.bars import ingest
        from gb_pipeline.providers.http.transport import counted

        name = f"{backlog.source.name} {backlog.resolution}"
        count, answered = _session_counter(backlog), 0
        with stoppable(), self._dagster(backlog) as tell, counted() as tally:
            try:
                with progress("sessions", quiet=self.quiet) as bar:
                    # Calls move on while the answer to a question of many pages is on its way.
                    task = bar.add_task(
                        name, total=backlog.sessions.height, detail=lambda: format_count(tally.calls, "call")
                    )

                    def show_answer(chunk: Chunk) -> None:
                        nonlocal answered
                        answered += count(chunk)
                        bar.update(task, completed=answered)

                    outcomes = ingest(
                        self.store,
                        backlog.source,
                        backlog.resolution,
                        backlog.jobs(),
                        on_outcome=tell,
                        on_answer=show_answer,
                        again=backlog.again,
                    )
            except (KeyboardInterrupt, SystemExit):
                self._say_what_is_left(backlog, answered)
                self._refresh_catalog()
                raise
        self._refresh_catalog()
        return outcomes

    @contextmanager
    def _dagster(self, backlog: Backlog) -> Iterator[Callable[[Outcome], None] | None]:
        """Who tells the project's Dagster of each outcome; nobody where it has none, or knows no such series."""
        from gb_pipeline.dagster_runtime.home import has_home

        if not has_home(self.settings.path.parent) or backlog.resolution not in backlog.source.resolutions:
            yield None
            return
        from gb_pipeline.dagster_runtime.client import DagsterError
        from gb_pipeline.orchestration.events.project_events import FetchEvents, open_instance
        from gb_pipeline.orchestration.series_group import SeriesGroup

        problems: list[DagsterError] = []
        with open_instance(self.settings) as instance:
            events = FetchEvents(instance, SeriesGroup(backlog.source, backlog.resolution), self.store)

            def tell(outcome: Outcome) -> None:
                # Bars go on being stored, whether Dagster hears of it or not.
                if not problems:
                    try:
                        events.report(outcome)
                    except DagsterError as error:
                        problems.append(error)

            try:
                yield tell
            finally:
                try:
                    if not problems:
                        events.finish()
                except DagsterError as error:
                    problems.append(error)
                for problem in problems[:1]:
                    print_error(problem.what, problem.fix)

    def _refresh_catalog(self) -> None:
        from gb_pipeline.catalog.projection import refresh_catalog, table_versions

        if table_versions(self.store):
            refresh_catalog(self.store, self.settings.sources)

    def _say_what_is_left(self, backlog: Backlog, answered: int) -> None:
        import polars as pl

        from gb_pipeline.ingest.backlog import Why, find_backlog

        wanted = backlog.wanted
        if backlog.again:
            # What was stored before tells nothing; answers that had come are stored by now.
            stored = min(answered, wanted.height)
        else:
            now = find_backlog(
                self.store, backlog.source, backlog.resolution, backlog.symbols, backlog.start, backlog.end
            )
            rows = wanted.join(now.wanted, on=["symbol", "session"], suffix=" now")
            # A session that has come with unexplained gaps is stored, unless they are what was asked for.
            gaps = Why.OPEN_GAPS.value
            stored = wanted.height - rows.filter((pl.col("why now") != gaps) | (pl.col("why") == gaps)).height
        print_error(
            f"stopped: {stored:,} of {format_count(wanted.height, 'session')} of {backlog.source.name} {backlog.resolution}"
            f" are stored, {wanted.height - stored:,} are left",
            "run the same command again to go on",
        )


def _session_counter(backlog: Backlog) -> Callable[[Chunk], int]:
    """How many sessions of a backlog lie in a chunk."""
    sessions: dict[str, list[date]] = defaultdict(list)
    for symbol, session in backlog.sessions.select("symbol", "session").iter_rows():
        sessions[symbol].append(session)

    def count(chunk: Chunk) -> int:
        own = sessions[chunk.symbol.code]
        return bisect_left(own, chunk.end) - bisect_left(own, chunk.start)

    return count
