"""This module explains where a bar comes from: its file, its fetch, the vendor's own bytes, and whether it follows from them.

It puts together what the tables, the ledgers and the raw store know of one bar, or of its absence. Printing is in `cli.explain`,
reading kept responses in `stored_responses`.

A version of a bar names its fetch by its moment, `fetched_at`; one that was written by hand has none. Later fetches that left
the version as it was confirm it. A version that only says that the vendor no longer returns the bar holds the content of the
version before, and that one's fetch brought it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError
from gb_pipeline.lake import fetches, quarantine, removals, versions
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.market.moments import MICROSECOND, instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.provenance.stored_responses import StoredResponse, find_responses, read_again, validate_response
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import parquet, reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.decoding import damaged_file
from gb_pipeline.storage.files import Files
from gb_pipeline.storage.raw_responses import RawBody, RawStore
from gb_pipeline.storage.reading import FILE

_COLUMNS = bar_schema().names


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version of a bar lies; one that was superseded lies in a file of its own.

    Attributes:
        table: the Delta table.
        file: the path of its data file.
        row_group: of the file, counted from 0.
    """

    table: str
    file: str
    row_group: int


@dataclass(frozen=True, slots=True)
class Origin:
    """A fetch, and what its kept response says of the bar.

    Attributes:
        answer: what the ledger of fetches has.
        bodies: each kept body: whether it is there and intact.
        verdict: what follows from the kept response by today's code: `agrees` with the bar, or `differs`; `absent`, where
            it has no such bar; `refused`, where that is bad. Else `not kept`, `unreadable`, or `not read` without settings.
        content: what the response says of the bar, None unless it has a good one.
        reader: name and version of the code that read it just now.
        problem: why it was not read, or the reasons of a refusal.
    """

    answer: StoredResponse
    bodies: tuple[RawBody, ...]
    verdict: str
    content: dict[str, Any] | None = None
    reader: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known of one bar.

    Attributes:
        source, symbol, resolution, timestamp: the bar, by its open in UTC.
        as_of: the moment of the question, None for now.
        bar: its version that holds: all columns of `market.schema.bar_schema`; None where no such bar is stored, or was known.
        place: where that version lies; None without a bar.
        session: what the ledger says, or said, of its session; None where it has none.
        delivered: the fetch that brought its content, or without a bar the newest that was answered; None where none is
            recorded, as of bars that were written by hand.
        latest: the newest fetch since then, which left the content as it was: its verdict says whether it still has it.
        later: how many such fetches there are.
        asked: the newest fetch that asked for it, whatever its outcome, as a row of `fetches`.
        restatements: every change of its content, oldest first.
        quarantine: refused rows of this timestamp.
        override: the correction that holds, or held at the moment, as a row of `Lake.overrides`; None without one. Kept responses
            are then compared with what the vendor says, not with the corrected bar.
        corrections: `replaced_at` of those `restatements` that an override made or took back.
        removal: why there is no bar, as a row of `Lake.removals`, where its session was removed on purpose.
    """

    source: str
    symbol: str
    resolution: Resolution
    timestamp: datetime
    as_of: datetime | None
    bar: dict[str, Any] | None
    place: Place | None
    session: dict[str, Any] | None
    delivered: Origin | None
    latest: Origin | None
    later: int
    asked: dict[str, Any] | None
    restatements: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]
    override: dict[str, Any] | None = None
    corrections: frozenset[datetime] = frozenset()
    removal: dict[str, Any] | None = None


def explain(
    lake: Lake,
    source: str,
    symbol: Symbol | str,
    resolution: Resolution,
    timestamp: datetime,
    *,
    settings: SourceSettings | None = None,
    provider: Provider | None = None,
    as_of: datetime | None = None,
) -> Explanation:
    """Put together where a bar comes from. Nothing is asked of a vendor.

    Args:
        lake: the lake.
        source: short name of the feed.
        symbol: canonical code.
        resolution: of the bar.
        timestamp: its open, aware; a moment within the bar is understood where that resolution divides sessions.
        settings: of the source, by which kept responses are read; without them they are only looked at.
        provider: instead of the one that the settings name.
        as_of: explain what was known at this moment.

    Raises:
        UnknownSeries: nothing is stored under this name.

    Example:
        >>> explain(Lake.open("data"), "coinbase", "BTC-USD", Resolution.MINUTE, instant("2024-01-02T09:30Z")).bar["close"]
        Decimal('45012.34000000')
    """
    work = _Explaining(lake, source, str(symbol), resolution, settings, provider, as_of)
    try:
        return work.of(timestamp)
    finally:
        if provider is None and work.reader is not None:
            asyncio.run(work.reader.aclose())


class _Explaining:
    def __init__(
        self,
        lake: Lake,
        source: str,
        symbol: str,
        resolution: Resolution,
        settings: SourceSettings | None,
        reader: Provider | None,
        as_of: datetime | None,
    ) -> None:
        self.lake, self.source, self.symbol, self.resolution = lake, source, symbol, resolution
        self.settings, self.reader, self.as_of = settings, reader, as_of
        self.tables = lake.store.tables

    def of(self, moment: datetime) -> Explanation:
        bar = self._bar(moment)
        when: datetime = moment if bar is None else bar["timestamp"]
        here = Window(when, when + MICROSECOND)
        answered = find_responses(self.tables, self.source, self.resolution, [self.symbol], here)
        known = [one for one in answered if self.as_of is None or one.fetched_at <= self.as_of]
        history = [] if bar is None else self._history(when)
        override = self._override(when)
        # What a vendor says is compared with what is known of it, which is not the bar where that is corrected.
        said = bar
        if bar is not None and override is not None:
            # A bar that was released was never said in a way that was accepted.
            refused = override["vendor_refused"]
            said = None if refused else bar | {name: override[f"vendor_{name}"] for name in CONTENT}
        session = self._session(when)
        brought, later = (known[-1:], []) if bar is None else _split_by_version(known, bar, history)
        return Explanation(
            source=self.source,
            symbol=self.symbol,
            resolution=self.resolution,
            timestamp=when,
            as_of=self.as_of,
            bar=bar,
            place=None if bar is None else self._place(bar, history),
            session=session,
            delivered=self._origin(brought, said, when),
            latest=self._examine(later[-1], said, when) if later else None,
            later=len(later),
            asked=self._newest_fetch(when),
            restatements=versions.restatements(
                self.tables, self.source, self.resolution, [self.symbol], (here.start, here.end)
            ).to_dicts(),
            quarantine=self._refused_rows(when),
            override=override,
            corrections=frozenset(self._overrides(when)["known_at"]),
            removal=self._removal(session) if bar is None else None,
        )

    def _bar(self, moment: datetime) -> dict[str, Any] | None:
        length = self.resolution.duration
        since = moment if length is None else moment - length + MICROSECOND
        rows = self.lake.scan_bars(
            self.symbol, self.resolution, since, moment + MICROSECOND,
            source=self.source, columns=_COLUMNS, as_of=self.as_of,
        ).collect()  # fmt: skip
        return rows.row(-1, named=True) if rows.height else None

    def _history(self, when: datetime) -> list[_Version]:
        """Every version of the bar, oldest first."""
        versions_of_bar = []
        for precision in Precision:
            snapshot = self.tables.newest(bars_dataset(self.resolution, precision).name)
            between = (when, when + MICROSECOND)
            files = snapshot.select(
                {"source": self.source}, between={"timestamp": between}, holding={"symbol": [self.symbol]}
            )
            rows = reading.read(
                self.tables.storage, snapshot.dataset, files, between=("timestamp", *between), with_file=True
            ).filter(pl.col("symbol") == self.symbol)
            listed = files.to_dicts()
            versions_of_bar += [
                _Version(snapshot.dataset, listed[row[FILE]], row) for row in rows.iter_rows(named=True)
            ]
        return sorted(versions_of_bar, key=lambda version: version.row["known_at"])

    def _place(self, bar: dict[str, Any], history: Sequence[_Version]) -> Place:
        version = history[_position(history, bar)]
        storage, table = self.tables.storage, version.dataset.name
        path, size = version.file["path"], version.file["size"]
        try:
            group = _row_group(storage.files, f"{storage.table_name(table)}/{path}", size, self.symbol, bar)
        except parquet.Unreadable as error:
            raise damaged_file(version.dataset, version.file, error.reason) from None
        return Place(table, f"{storage.table(table)}/{path}", group)

    def _session(self, when: datetime) -> dict[str, Any] | None:
        days = (when - timedelta(days=1)).date(), (when + timedelta(days=2)).date()
        rows = self.lake.coverage(self.source, self.symbol, self.resolution, *days, as_of=self.as_of)
        if self.settings is not None:
            calendar = self.settings.rules(self.resolution).calendar
            day = calendar.session_of(pl.Series([when], dtype=pl.Datetime("us", "UTC")), self.resolution).item()
            rows = rows.filter(pl.col("session") == day)
        else:
            rows = rows.filter((pl.col("first_timestamp") <= when) & (pl.col("last_timestamp") >= when))
        gaps = self.lake.gaps(self.source, self.symbol, self.resolution, *days, as_of=self.as_of)
        here = gaps.filter((pl.col("start") <= when) & (pl.col("end") > when))
        if rows.is_empty() and self.settings is None and here.height:
            # A session without a bar has a gap.
            rows = self.lake.coverage(self.source, self.symbol, self.resolution, *days, as_of=self.as_of)
            rows = rows.filter(pl.col("session") == here["session"][0])
        if rows.is_empty():
            return None
        incident = pl.concat_str("incident_kind", "incident_reason", separator=": ")
        reason = here.select(pl.coalesce(incident, "reason")).to_series()
        return rows.row(0, named=True) | {"gap": reason.item(0) if len(reason) else None}

    def _newest_fetch(self, when: datetime) -> dict[str, Any] | None:
        rows = fetches.read(self.tables, self.source, [self.symbol]).filter(
            (pl.col("resolution") == self.resolution.value)
            & (pl.col("window_start") <= when)
            & (pl.col("window_end") > when)
        )
        return rows.row(-1, named=True) if rows.height else None

    def _override(self, when: datetime) -> dict[str, Any] | None:
        rows = self._overrides(when)
        if self.as_of is not None:
            rows = rows.filter(pl.col("known_at") <= instant_literal(self.as_of))
        return None if rows.is_empty() or rows["withdrawn"][-1] else rows.row(-1, named=True)

    def _overrides(self, when: datetime) -> pl.DataFrame:
        return self.lake.overrides(self.source, self.symbol).filter(
            (pl.col("resolution") == self.resolution.value) & (pl.col("timestamp") == when)
        )

    def _removal(self, session: dict[str, Any] | None) -> dict[str, Any] | None:
        if session is None or session["status"] != SessionStatus.REMOVED.value:
            return None
        listed = self.lake.removals(self.source, self.symbol)
        rows = removals.covering(listed, self.resolution, session["session"])
        rows = rows.filter(pl.col("action") != removals.Action.RESTORED.value)
        if self.as_of is not None:
            rows = rows.filter(pl.col("known_at") <= instant_literal(self.as_of))
        return rows.row(-1, named=True) if rows.height else None

    def _refused_rows(self, when: datetime) -> list[dict[str, Any]]:
        same = (pl.col("resolution") == self.resolution.value) & (pl.col("timestamp") == when)
        rows = quarantine.read(self.tables, self.source, [self.symbol]).filter(same)
        return rows.sort("quarantined_at").to_dicts()

    # --- kept responses -----------------------------------------------------------------------------------------------

    def _origin(self, brought: Sequence[StoredResponse], bar: dict[str, Any] | None, when: datetime) -> Origin | None:
        # Two runs may have asked in the same microsecond.
        origins = [self._examine(response, bar, when) for response in brought]
        return next((origin for origin in origins if origin.verdict == "agrees"), origins[0] if origins else None)

    def _examine(self, response: StoredResponse, bar: dict[str, Any] | None, when: datetime) -> Origin:
        raw = RawStore(self.lake.store.storage)
        origin = Origin(response, tuple(raw.inspect(name) for name in response.raw), "not kept")
        if not response.raw:
            return origin
        if self.settings is None:
            return replace(origin, verdict="not read", problem=f"no gb.yaml tells how {self.source} is read")
        try:
            reader = self.reader = self.reader or build_provider(self.settings)
            listed = (one for one in self.settings.instruments if one.code == self.symbol)
            symbol = next(listed, None) or Symbol.of(self.symbol, self.settings.asset_class)
            frame = read_again(self.lake.store, reader, symbol, self.resolution, response)
            validation = validate_response(frame, self.settings.rules(self.resolution), response)
        except GbError as error:
            return replace(origin, verdict="unreadable", problem=error.what)
        origin = replace(origin, reader=reader.normaliser)
        good = validation.good.filter(pl.col("timestamp") == when).select(CONTENT)
        if good.is_empty():
            bad = validation.bad.filter(pl.col("timestamp") == when)["reasons"].to_list()
            reasons = ", ".join(sorted({reason for row in bad for reason in row}))
            return replace(origin, verdict="refused" if bad else "absent", problem=reasons)
        content = good.row(0, named=True)
        same = bar is not None and all(content[name] == bar[name] for name in CONTENT)
        return replace(origin, verdict="agrees" if same else "differs", content=content)


@dataclass(frozen=True, slots=True)
class _Version:
    """A version of a bar, and the file that holds it."""

    dataset: Dataset
    file: dict[str, Any]
    row: dict[str, Any]


def _position(history: Sequence[_Version], bar: dict[str, Any]) -> int:
    return next(number for number, version in enumerate(history) if version.row["known_at"] == bar["known_at"])


def _split_by_version(
    known: Sequence[StoredResponse], bar: dict[str, Any], history: Sequence[_Version]
) -> tuple[list[StoredResponse], list[StoredResponse]]:
    """The answers that may have brought the bar's content, and later ones that left it as it was."""
    place = _position(history, bar)
    since = history[place - 1 if bar["withdrawn"] and place else place].row["fetched_at"]
    brought = [one for one in known if one.fetched_at == since]
    later = [one for one in known if one.fetched_at > since]
    # The fetch that ended a version brought what came next.
    if following := history[place + 1 :]:
        later = [one for one in later if one.fetched_at < following[0].row["fetched_at"]]
    return brought, later


def _row_group(files: Files, name: str, size: int, symbol: str, bar: dict[str, Any]) -> int:
    """The row group that holds the version of a bar.

    Raises:
        Unreadable: the file is not what was written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        with parquet.open_verified(files, name, size) as file:
            names = [name for name in ("symbol", "timestamp", "known_at") if name in file.schema_arrow.names]
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=names)
                same = [pc.equal(rows[column], bar[column]) for column in ("timestamp", "known_at")]
                same += [pc.equal(rows["symbol"], symbol)] if "symbol" in names else []
                if pc.any(reduce(pc.and_, same)).as_py():
                    return group
    except (OSError, pa.ArrowException) as error:
        raise parquet.Unreadable(str(error)) from None
    raise parquet.Unreadable("the bar that was read from it is not there any more")
