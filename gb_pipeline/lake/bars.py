"""Writing bars: one idempotent act, in one commit.

A frame is validated outside the lock; bad rows go to `quarantine`, each once. Then, in one attempt on the table's newest version:
the current rows of the window are read and compared; identical content commits nothing; new versions, the superseded ones and
what the ledger is to say of them become one entry of the log.

Does not belong here: the comparison (`merge`), validation (`quality.bars`), how a commit is made (`storage.commit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.errors import LakeError, WindowRefused
from gb_pipeline.lake import ledger, quarantine
from gb_pipeline.lake.coverage import describe_sessions, expect, ledger_frame
from gb_pipeline.lake.datasets import bars
from gb_pipeline.lake.merge import KEY, Merge, merge
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.stored import in_window, read_files, refuse_narrower, refuse_unrecorded, window_files
from gb_pipeline.market.moments import INSTANT, MICROSECOND, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import ValidationResult, validate
from gb_pipeline.quality.corporate_actions import NOT_REQUESTED
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.session_days import Listing
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables
from gb_pipeline.storage.workers import side_pool

LATE = "fetched_before_stored"
_SMALL = 50_000
_ROWS = ("symbol", "session", "timestamp", *CONTENT, "withdrawn")


@dataclass(frozen=True)
class Answer:
    """What a source said about some symbols in a window.

    Attributes:
        source, symbols, resolution, window: what was asked for.
        fetched_at: when, by symbol.
        run_id: of the run that asked.
        listings: first session, and first session without it, by symbol.
    """

    source: str
    symbols: tuple[str, ...]
    resolution: Resolution
    window: Window
    fetched_at: Mapping[str, datetime]
    run_id: str | None
    listings: Mapping[str, Listing]

    @property
    def asked(self) -> pl.DataFrame:
        """`symbol` and `fetched_at` as a frame."""
        kinds = {"symbol": pl.String(), "fetched_at": INSTANT}
        return pl.DataFrame(
            {"symbol": list(self.fetched_at), "fetched_at": list(self.fetched_at.values())}, schema=kinds
        )

    @property
    def earliest(self) -> datetime:
        """When the first of the symbols was asked for: what was still open then is open in its answer."""
        return min(self.fetched_at.values())


def write(tables: Tables, answer: Answer, frame: pl.DataFrame, rules: BarRules, clock: Clock) -> WriteReport:
    """See `LakeStore.write_bars`."""
    verdict = _validated(frame, answer, rules)
    _quarantine(tables, answer, verdict.bad, clock)
    if rules.precision is Precision.STANDARD:
        refuse_narrower(tables, answer.source, answer.resolution, answer.symbols)
    writer = _Writer(tables, answer, rules, verdict, clock)
    report = commit(
        tables[bars(answer.resolution, rules.precision).name], writer.decide, clock=clock, afterwards=writer.afterwards
    )
    if writer.decided.late.height:
        _quarantine(tables, answer, _as_late(writer.decided.late), clock)
    return report


def _validated(frame: pl.DataFrame, answer: Answer, rules: BarRules) -> ValidationResult:
    """The verdict on what was asked for; whatever else the frame holds is refused with it."""
    if frame.schema.get("symbol", pl.String()) != pl.String():
        raise WindowRefused(
            f"column 'symbol' of the frame is {frame.schema['symbol']}, not text", fix="cast it to pl.String"
        )
    if "symbol" not in frame.columns:
        return validate(frame, rules, answer.window, now=answer.earliest)
    asked = frame["symbol"].is_in(list(answer.symbols)).fill_null(False)
    verdict = validate(frame.filter(asked), rules, answer.window, now=answer.earliest)
    if asked.all():
        return verdict
    others = frame.filter(~asked)
    said = pl.struct(pl.exclude("received")).struct.json_encode()
    refused = others.select(
        pl.col("symbol").fill_null(""),
        pl.lit(None, pl.Date()).alias("session"),
        "timestamp",
        pl.lit([NOT_REQUESTED]).alias("reasons"),
        (pl.coalesce("received", said) if "received" in others.columns else said).alias("row"),
    )
    return replace(verdict, bad=pl.concat([verdict.bad, refused]), received=frame.height)


class _Writer:
    """One attempt is one `decide`; it is repeated where others changed the table meanwhile."""

    def __init__(
        self, tables: Tables, answer: Answer, rules: BarRules, verdict: ValidationResult, clock: Clock
    ) -> None:
        self.tables, self.answer, self.rules, self.verdict, self.clock = tables, answer, rules, verdict, clock
        self.expectation = expect(rules, answer.window, answer.earliest)
        self.decided: Merge

    def decide(self, draft: Draft) -> WriteReport:
        files = window_files(draft.base, self.answer.source, self.answer.symbols, self.expectation.hull)
        known = self._known()
        if files.height and (report := self._as_recorded(known)) is not None:
            return report
        stored, held = self._stored(draft, files)
        window = self.answer.window
        inside = stored.filter(
            (pl.col("timestamp") >= instant_literal(window.start)) & (pl.col("timestamp") < instant_literal(window.end))
        )
        refused = pl.concat([self.verdict.bad.select(KEY), self._unlisted(inside)])
        self.decided = decided = merge(self.verdict.good, inside, refused, self.answer.asked)
        # Describing sessions and writing files take about as long, and neither needs the other's result.
        described = side_pool().submit(self._describe, _after(stored, decided), decided)
        try:
            size = self._fill(draft, files, held) if not decided.nothing else 0
        finally:
            sessions = described.result()
        version = None if decided.nothing else draft.base.version + 1
        said = self._said(sessions, version)
        if version is None:
            ledger.append_changed(self.tables, said, known, clock=self.clock)
        else:
            draft.info.update(ledger.note(self.tables, ledger.changed(said, known), draft.stamp))
        return self._report(sessions, decided, version, size)

    def _unlisted(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Keys of stored rows outside their symbol's listing: nobody was asked for them, so nobody withdrew them."""
        edges = [(code, *self.answer.listings.get(code, (None, None))) for code in self.answer.symbols]
        edges = [edge for edge in edges if edge[1:] != (None, None)]
        if not edges or stored.is_empty():
            return stored.select(KEY).clear()
        kinds = {"symbol": pl.String(), "first": pl.Date(), "end": pl.Date()}
        listed = stored.select(*KEY, "session").join(pl.DataFrame(edges, schema=kinds, orient="row"), on="symbol")
        outside = (pl.col("session") < pl.col("first")).fill_null(False) | (
            pl.col("session") >= pl.col("end")
        ).fill_null(False)
        return listed.filter(outside).select(KEY)

    def _known(self) -> pl.DataFrame:
        """What the ledger holds about the days of the window."""
        days = [*self.expectation.sessions, *self.expectation.closed]
        if not days:
            return ledger.SESSIONS_EMPTY
        between = min(days), max(days) + timedelta(days=1)
        return ledger.current(self.tables, self.answer.source, self.answer.resolution, self.answer.symbols, between)

    def _as_recorded(self, known: pl.DataFrame) -> WriteReport | None:
        """The report where the ledger has recorded just these sessions with just these fingerprints: no file is opened."""
        good = self.verdict.good
        if not self.expectation.whole or self.verdict.bad.height or known.is_empty():
            return None
        if known["actual"].sum() != good.height or self._differs_at_once(known):
            return None
        nothing = good.select("symbol", "session", "timestamp").clear()
        same = Merge(good.clear(), good.clear(), nothing, nothing, good.clear(), good.height)
        sessions = self._describe(good.with_columns(pl.lit(None, pl.Boolean).alias("withdrawn")), same)
        if ledger.changed(self._said(sessions, None), known).height:
            return None
        self.decided = same
        return self._report(sessions, same, None, 0)

    def _differs_at_once(self, known: pl.DataFrame) -> bool:
        """Whether the fingerprints of a small answer differ; of a large one they are only made once, with all the rest."""
        answer, good = self.answer, self.verdict.good
        if good.height > _SMALL:
            return False
        prints = session_fingerprints(good, answer.source, answer.resolution, self.rules.precision)
        return prints.join(known, on=["symbol", "session", "fingerprint"], how="anti").height > 0

    def _said(self, sessions: pl.DataFrame, version: int | None) -> pl.DataFrame:
        """What the ledger is to say of the sessions."""
        recorded = -1 if version is None else version
        return ledger_frame(self.answer.source, self.rules, sessions, fetched_at=self.answer.earliest, version=recorded)

    def afterwards(self, draft: Draft) -> None:
        """Let the ledger take over what waits for it, now and then."""
        reach("before_ledger")
        with suppress(LakeError, OSError):
            # Whoever comes next can do it as well.
            ledger.take_over(self.tables, draft.table, least=ledger.BATCH, clock=self.clock)
        reach("acknowledged")

    def _stored(self, draft: Draft, files: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The current rows of the window's sessions, and everything that their files hold."""
        answer = self.answer
        held = read_files(self.tables, draft.base, files)
        rows = in_window(self.tables, draft.base, held, answer.source, answer.symbols, self.expectation.hull)
        session = self.rules.calendar.session_of(rows["timestamp"], answer.resolution).alias("session")
        return rows.with_columns(session), held

    def _fill(self, draft: Draft, files: pl.DataFrame, held: pl.DataFrame) -> int:
        """Write the files of new and superseded versions; how many bytes they have."""
        answer, dataset = self.answer, draft.table.dataset
        draft.stamp = max(draft.stamp, ledger.newest_moment(self.tables, answer.resolution) + MICROSECOND)
        draft.info = {
            "operation": "WRITE",
            "gb": {
                "source": answer.source,
                "resolution": answer.resolution.value,
                "symbols": len(answer.symbols),
                "window": [answer.window.start.isoformat(), answer.window.end.isoformat()],
                "run_id": answer.run_id,
            },
        }
        new = self.decided.added.with_columns(pl.lit(answer.source).alias("source")).select(dataset.columns.names)
        replaced = self.decided.replaced
        if replaced.height:
            replaced = replaced.filter(pl.col("file").is_not_null())

        def check(rows: pl.DataFrame) -> None:
            refuse_unrecorded(self.tables, answer.source, self.rules, rows)

        revise(draft, new, replaced, files, held, check=check)
        return sum(int(action["size"]) for action in draft.write())

    def _describe(self, rows: pl.DataFrame, decided: Merge) -> pl.DataFrame:
        return describe_sessions(
            self.answer.source,
            self.answer.symbols,
            self.rules,
            self.expectation,
            rows,
            self.verdict,
            listings=self.answer.listings,
            touched=decided.added.select("symbol", "session", "timestamp"),
            restated=decided.restated,
            withdrawn=decided.withdrawn,
        )

    def _report(self, sessions: pl.DataFrame, decided: Merge, version: int | None, size: int) -> WriteReport:
        placed = sessions.select("symbol", "session")
        lost = self.verdict.bad.join(placed, on=["symbol", "session"], how="anti").group_by("symbol").len()
        return WriteReport(
            source=self.answer.source,
            resolution=self.rules.resolution,
            window=self.answer.window,
            sessions_frame=sessions,
            received=self.verdict.received,
            stored=self.verdict.good.height - decided.late.height,
            unchanged=decided.unchanged,
            quarantined=self.verdict.bad.height,
            restated=decided.restated.height,
            withdrawn=decided.withdrawn.height,
            late=decided.late.height,
            unplaced=dict(lost.iter_rows()),
            bytes=size,
            version=version,
        )


def _quarantine(tables: Tables, answer: Answer, bad: pl.DataFrame, clock: Clock) -> None:
    quarantine.record(
        tables,
        answer.source,
        answer.resolution,
        answer.window,
        bad,
        at=max(answer.earliest, clock()),
        run_id=answer.run_id,
        clock=clock,
    )


def _as_late(rows: pl.DataFrame) -> pl.DataFrame:
    row = pl.struct("timestamp", *CONTENT).struct.json_encode()
    return rows.select("symbol", "session", "timestamp", pl.lit([LATE]).alias("reasons"), row.alias("row"))


def _after(stored: pl.DataFrame, decided: Merge) -> pl.DataFrame:
    """Everything that the window's sessions hold after the write."""
    added = decided.added.select(_ROWS)
    if stored.is_empty():
        return added
    rest = stored.select(_ROWS)
    if added.is_empty():
        return rest
    return pl.concat([rest.join(added.select(KEY), on=KEY, how="anti"), added]).sort(KEY)
