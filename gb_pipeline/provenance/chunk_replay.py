"""This module replays some weeks of one symbol: as much as memory holds at once.

Of several responses with one bar the newest counts, as it did when they came; one that a newer response lacks is withdrawn. Where a
newer response was not kept, older ones prove nothing: such times are left alone and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import reduce

import polars as pl

from gb_pipeline.adjustment.split_timeline import split_periods
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.ingest.job import Chunk
from gb_pipeline.lake import overrides
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.fetches import FetchOutcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.stored import read_window
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, RECEIVED, Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.provenance.differences import Replayed, compare, inside, overlap
from gb_pipeline.provenance.stored_responses import StoredResponse, read_again, validate_response
from gb_pipeline.providers.base import Provider


@dataclass(frozen=True, slots=True)
class _Winner:
    """A response and what of it still counts.

    Attributes:
        received: its rows of which no newer response speaks, and those of `good`.
        good: the good bars that no newer response has, `gone` where one lacks them.
        newer: the windows of newer responses, whether they can be read or not.
    """

    response: StoredResponse
    received: pl.DataFrame
    good: pl.DataFrame
    newer: tuple[Window, ...]


class ChunkReplay:
    """The replay of one chunk; its findings are added to a `Replayed`."""

    def __init__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        chunk: Chunk,
        provider: Provider,
        replayed: Replayed,
        responses: Sequence[StoredResponse],
    ) -> None:
        """Nothing is read yet; of the responses of the whole job, those that concern the chunk are chosen."""
        self.store, self.source, self.resolution, self.chunk = store, source, resolution, chunk
        self.provider, self.replayed = provider, replayed
        self.rules = replace(source.rules(resolution), adjustment=provider.adjustment)
        self.window = self.rules.calendar.window(chunk.start, chunk.end, resolution)
        self.responses = [response for response in responses if overlap(response.window, self.window)]
        # Windows of responses that were read, and of those that cannot be.
        self.read_windows: list[Window] = []
        self.blind_windows: list[Window] = []
        # For each read window, the bars that its response has and that are refused: these it has not withdrawn.
        self.refused: list[pl.Series] = []

    def run(self, *, write: bool, run_id: str | None) -> None:
        """Compare what is stored with the responses, and with `write` put it right."""
        winners = self._find_winners()
        if not winners:
            return
        good = pl.concat([winner.good for winner in winners])
        complete = inside(self.read_windows) & ~inside(self.blind_windows)
        differences = compare(good, self._read_stored(), complete)
        self.replayed.add(differences)
        differing = differences.filter(pl.col("kind") != "unexplained")["timestamp"]
        if write and len(differing):
            wrong = [winner.good["timestamp"].is_in(differing.implode()).any() for winner in winners]
            gone = good.filter("gone")["timestamp"]
            # Oldest first, as they came; newer ones that differ in nothing say what has gone since.
            oldest = max(number for number, differs in enumerate(wrong) if differs)
            for number in range(oldest, -1, -1):
                if self._may_be_stored(winners[number].response, report=wrong[number]):
                    self._write(winners[number], gone, run_id)

    def _find_winners(self) -> list[_Winner]:
        """Newest first."""
        winners: list[_Winner] = []
        read: set[tuple[tuple[str, ...], Window]] = set()
        taken = pl.DataFrame(schema={"timestamp": pl.Datetime("us", "UTC")})
        for response in reversed(self.responses):
            if not response.raw and response.outcome == FetchOutcome.OK.value:
                self.replayed.unkept += 1
                self.blind_windows.append(response.window)
                continue
            if (response.raw, response.window) in read:
                continue
            read.add((response.raw, response.window))
            try:
                frame = self._read_response(response)
                validation = validate_response(frame, self.rules, response)
            except GbError as error:
                self.replayed.problems.append(error)
                self.blind_windows.append(response.window)
                continue
            good = validation.good.filter(inside([self.window]) & ~inside(self.blind_windows))
            good = good.join(taken, on="timestamp", how="anti").with_columns(self._is_gone().alias("gone"))
            taken = pl.concat([taken, good.select("timestamp")])
            newer = (*self.read_windows, *self.blind_windows)
            winners.append(_Winner(response, self._still_received(frame, response, good), good, newer))
            self.read_windows.append(response.window)
            self.refused.append(validation.bad["timestamp"].drop_nulls().unique())
            self.replayed.answers += 1 if response.raw else 0
            self.replayed.rows += good.height
        return winners

    def _read_response(self, response: StoredResponse) -> pl.DataFrame:
        if not response.raw:
            # Nothing was kept, and nothing has to be: that it was empty is all it said.
            return pl.DataFrame(schema=RECEIVED)
        return read_again(self.store, self.provider, self.chunk.symbol, self.resolution, response)

    def _still_received(self, frame: pl.DataFrame, response: StoredResponse, good: pl.DataFrame) -> pl.DataFrame:
        """Its good rows, and whatever else it says about times of which no newer response speaks: refused rows count."""
        newer = [*self.read_windows, *self.blind_windows]
        alone = not any(overlap(response.window, window) for window in newer)
        unreadable = pl.col("timestamp").is_null() & pl.lit(alone)
        counts = pl.col("timestamp").is_in(good["timestamp"].implode()) | (inside([self.window]) & ~inside(newer))
        return frame.filter(unreadable | counts.fill_null(False))

    def _is_gone(self) -> pl.Expr:
        """Whether a newer response speaks of this time and neither has such a bar nor had it refused."""
        lacking = [
            inside([window]) & ~pl.col("timestamp").is_in(refused.implode())
            for window, refused in zip(self.read_windows, self.refused, strict=True)
        ]
        return reduce(lambda left, right: left | right, lacking, pl.lit(False))

    def _read_stored(self) -> pl.DataFrame:
        """Bars as the vendor says them: responses say nothing of corrections."""
        tables, source, codes = self.store.tables, self.source.name, [self.chunk.symbol.code]
        newest = tables.newest(bars_dataset(self.resolution, self.rules.precision).name)
        in_force = overrides.read_in_force(tables, newest, source, self.resolution, codes, self.window)
        return overrides.as_vendor(read_window(tables, newest, source, codes, self.window), in_force)

    def _write(self, winner: _Winner, gone: pl.Series, run_id: str | None) -> None:
        requested = winner.response.window
        window = Window(max(requested.start, self.window.start), min(requested.end, self.window.end))
        code = self.chunk.symbol.code
        report = self.store.write_bars(
            self.source.name,
            [self.chunk.symbol],
            self.resolution,
            window,
            self._rows_to_write(winner, gone).with_columns(pl.lit(code).alias("symbol")),
            rules=self.rules,
            # What was open when the vendor was asked is open in its answer, however late that is written.
            fetched_at=winner.response.fetched_at,
            run_id=run_id,
            listings={code: self.source.listing(self.chunk.symbol)},
        )
        self.replayed.restated += report.restated
        self.replayed.written += report.stored
        if report.late:
            self.replayed.problems.append(
                LakeError(
                    f"{code} {requested}: {report.late} bars that differ were stored by a later question than this answer's",
                    fix="fetch it again: what the vendor says now holds",
                )
            )

    def _rows_to_write(self, winner: _Winner, gone: pl.Series) -> pl.DataFrame:
        """The rows of a response, and where newer ones speak what is stored, which it has no say about."""
        stamp = pl.col("timestamp")
        others = self._read_stored().filter(
            ~pl.col("withdrawn").fill_null(False)
            & inside(winner.newer)
            & ~stamp.is_in(winner.received["timestamp"].drop_nulls().implode())
            & ~stamp.is_in(gone.implode())
        )
        # A column that the answer has not would change the text of its refused rows, which are told apart by it.
        names = [name for name in CONTENT if name in winner.received.columns or others[name].count()]
        return pl.concat([winner.received, others.select(stamp, pl.col(names).cast(pl.String))], how="diagonal")

    def _may_be_stored(self, response: StoredResponse, *, report: bool) -> bool:
        """Whether a response may be stored now: prices of before a split may not; that is a problem where they differ."""
        if self.rules.adjustment is not Adjustment.SPLIT or (day := self._split_since(response)) is None:
            return True
        if report:
            self.replayed.problems.append(
                LakeError(
                    f"{self.chunk.symbol.code} {response.window}: what was kept is of before the split of {day}",
                    fix="fetch it again instead: the vendor's prices have the split",
                )
            )
        return False

    def _split_since(self, response: StoredResponse) -> date | None:
        """Ex date of a split that changed these prices at the vendor after this response."""
        code = self.chunk.symbol.code
        periods = split_periods(self.store.tables, self.source.name, [code]).get(code, ())
        since = [item.ex_date for item in periods if any(edge.latest > response.fetched_at for edge in item.edges)]
        return next((day for day in since if response.window.start.date() < day), None)
