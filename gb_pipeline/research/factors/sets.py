"""`FactorSet`: what gb.yaml says under `factors`, as a pipeline over a lake whose values are stored month by month.

Every computation reads what the lake knew at one moment, the newest one of its tables, so that it can be repeated from there to the
last bit. Which months another state of the data, or another description, would change is answered by the ledger, without a bar.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from gb_pipeline.config.factors import FactorSetSettings
from gb_pipeline.config.settings import Settings
from gb_pipeline.config.symbols.membership_intervals import MembershipInterval
from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import factors
from gb_pipeline.lake.datasets import FACTOR_RUNS, FACTORS, FUNDAMENTALS, INSTRUMENTS, LISTINGS
from gb_pipeline.lake.factors import FactorsReport
from gb_pipeline.market.factor_schema import FactorKind
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.spelling import did_you_mean, near_names
from gb_pipeline.market.window import Window, instant
from gb_pipeline.portal.loading import answering_tables
from gb_pipeline.reading.fingerprints import make_fingerprint
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.pins import newest_moment
from gb_pipeline.research.factors.engine import PipelineRun
from gb_pipeline.research.factors.expressions import parse_expression
from gb_pipeline.research.factors.pipeline import Pipeline
from gb_pipeline.research.factors.run import open_run
from gb_pipeline.research.factors.terms import Classifier, Factor, Filter, Term


@dataclass(frozen=True)
class Month:
    """A month of sessions, cut to what a set wants.

    Attributes:
        key: as 2024-01.
        start, end: half-open range of days.
    """

    key: str
    start: date
    end: date


class ComputedRows(NamedTuple):
    """The rows of one month.

    Attributes:
        month: which.
        rows: columns as `run_pipeline` has them.
        data_start: the first day whose bars they can depend on.
    """

    month: Month
    rows: pl.DataFrame
    data_start: date


@dataclass(frozen=True)
class StoredMonth:
    """What one month came to.

    Attributes:
        month: which.
        rows: its values, wide, as `run_pipeline` returns them.
        report: what storing them did.
        data_as_of: the moment at which what was read was known.
        fingerprint: of the bars that were read; empty where there were none.
    """

    month: Month
    rows: pl.DataFrame
    report: FactorsReport
    data_as_of: datetime
    fingerprint: str

    @property
    def nulls(self) -> int:
        """Values that could not be stored."""
        return sum(self.rows.drop("session", "symbol").null_count().row(0)) if self.rows.height else 0


@dataclass(frozen=True)
class FactorSet:
    """A set of factors.

    Attributes:
        name: in gb.yaml.
        settings: what gb.yaml says.
        pipeline: what is computed.
        universe: whose; None for whoever has bars.
        end: where the source has an end, the session behind its last bars is the last one.
        calendar: of the sessions; None where the lake says it, with how its bars are aligned.
        definition: digest of what gb.yaml says of it, and of the file of the module that it names.
    """

    name: str
    settings: FactorSetSettings
    pipeline: Pipeline
    universe: tuple[str, ...] | Mapping[str, Sequence[MembershipInterval]] | None
    end: date | None
    calendar: str | None
    definition: str

    @classmethod
    def of(cls, settings: Settings, name: str) -> FactorSet:
        """The set of that name.

        Raises:
            ConfigError: there is none, an expression cannot be read, or a pipeline cannot be imported.
        """
        if name not in settings.factors:
            near = did_you_mean(near_names(name, list(settings.factors), 1))
            raise ConfigError(
                f"{settings.path} has no factors {name!r:.40}",
                fix=near or f"it has {', '.join(settings.factors) or 'none: add them under `factors`'}",
            )
        own = settings.factors[name]
        source = settings.source(own.source)
        universe = own.universe or dict(source.universe.intervals) or None
        try:
            pipeline = _pipeline(own, settings.path.parent)
        except ConfigError as error:
            raise ConfigError(f"factors {name}: {error.what}", fix=error.fix) from None
        # A list of the source grows from day to day, which changes nothing that was computed before.
        told = [own.model_dump(mode="json", exclude={"most_nulls", "start"}), source.calendar]
        if own.pipeline is not None:
            told.append(module_digest(own, settings.path.parent))
        described = json.dumps(told)
        definition = hashlib.sha256(described.encode()).hexdigest()
        calendar = source.calendar if own.resolution is Resolution.DAY else None
        return cls(name, own, pipeline, universe, source.end, calendar, definition)

    def month(self, key: str) -> Month:
        """A month by its key.

        Raises:
            ConfigError: it is none, or lies before the first session of the set.
        """
        try:
            begin = datetime.strptime(key, "%Y-%m").date()
        except ValueError:
            raise ConfigError(f"{key!r:.40} is no month", fix="write it as 2024-01") from None
        end = next_month(begin)
        if end <= self.settings.start:
            raise ConfigError(f"factors {self.name} begin on {self.settings.start}", fix="ask for a later month")
        return Month(key, max(begin, self.settings.start), end)

    def months(self, until: date) -> list[Month]:
        """All months up to that of a day."""
        last = until if self.end is None else min(until, self.end)
        found, begin = [], self.settings.start.replace(day=1)
        while begin <= last:
            found.append(self.month(begin.strftime("%Y-%m")))
            begin = next_month(begin)
        return found

    def open(self, lake: Lake, start: date, end: date, as_of: datetime) -> PipelineRun:
        """The run that computes some sessions from what was known at a moment."""
        own = self.settings
        return open_run(
            self.pipeline, start, end, lake=lake, universe=self.universe, source=own.source, resolution=own.resolution,
            calendar=self.calendar, adjustment=None if own.adjustment == "none" else own.adjustment,
            on_gap=own.on_gap, strict=own.strict, as_of=as_of,
        )  # fmt: skip

    def compute(self, lake: Lake, months: Sequence[Month], as_of: datetime) -> Iterator[ComputedRows]:
        """The values of some months in order, neighbours together."""
        for stretch in _stretches(months):
            run = self.open(lake, stretch[0].start, stretch[-1].end, as_of)
            waiting = list(stretch)
            for sessions, frame in run.parts():
                until = next_month(sessions[-1])
                while waiting and waiting[0].end <= until:
                    month = waiting.pop(0)
                    inside = pl.col("session").is_between(month.start, month.end, closed="left")
                    yield ComputedRows(month, frame.filter(inside), run.days_behind(month.start))
            for month in waiting:
                # Its sessions are still to come.
                yield ComputedRows(month, self.no_rows, run.days_behind(month.start))

    @property
    def no_rows(self) -> pl.DataFrame:
        """The columns of an answer without rows."""
        kinds = {name: term.data_type for name, term in self.pipeline.columns.items()}
        return pl.DataFrame(schema={"session": pl.Date(), "symbol": pl.String(), **kinds})

    def store(
        self, lake: Lake, months: Sequence[Month], *, as_of: datetime | None = None, run_id: str | None = None
    ) -> Iterator[StoredMonth]:
        """Compute and store some months. Idempotent: what has not changed is left alone.

        Args:
            as_of: what was known at this moment is read; by default the newest moment of the lake.
            run_id: kept with each computation.

        Raises:
            UnknownSeries: there are no bars, or their splits were never fetched.
            LakeError: the lake cannot be written.
        """
        tables, clock = lake.store.tables, lake.store.clock
        newest = data_moment(lake, self.settings)
        moment = newest if as_of is None else min(as_of, newest)
        for month, rows, data_start in self.compute(lake, months, moment):
            # Splits and dividends are pinned by the moment alone.
            fingerprint = self._fingerprint(lake, data_start, month, moment)
            report = factors.write_factors(
                tables, self.name, month.start, month.end, self._to_long(rows), data_as_of=moment, clock=clock
            )
            stored = StoredMonth(month, rows, report, moment, fingerprint)
            self._record(lake, stored, data_start, run_id)
            yield stored

    def _fingerprint(self, lake: Lake, start: date, month: Month, moment: datetime) -> str:
        symbols = None if self.universe is None else sorted(self.universe)
        window = Window(instant(start), instant(month.end))
        chosen = [(self.settings.source, symbols)]
        return make_fingerprint(lake.store.tables, chosen, self.settings.resolution, window, moment).whole

    def _to_long(self, rows: pl.DataFrame) -> pl.DataFrame:
        parts = [_long(rows, name, term) for name, term in self.pipeline.columns.items()]
        return pl.concat(parts)

    def _record(self, lake: Lake, stored: StoredMonth, data_start: date, run_id: str | None) -> None:
        tables, month = lake.store.tables, stored.month
        run = {
            "factor_set": self.name,
            "start": month.start,
            "end": month.end,
            "columns": list(self.pipeline.columns),
            "definition": self.definition,
            "data_as_of": stored.data_as_of,
            "data_fingerprint": stored.fingerprint,
            "data_start": data_start,
            "data_end": month.end,
            "sessions": stored.rows["session"].n_unique(),
            "rows": stored.rows.height,
            "nulls": stored.nulls,
        }
        same = ("start", "definition", "data_as_of", "data_fingerprint", "rows")
        if any(all(row[name] == run[name] for name in same) for row in factors.read_runs(tables, self.name).to_dicts()):
            return
        kinds = {name: kind for name, kind in FACTOR_RUNS.polars.items() if name in run or name == "run_id"}
        factors.record_run(tables, pl.DataFrame([{**run, "run_id": run_id}], schema=kinds), clock=lake.store.clock)

    def differences(self, lake: Lake, months: Sequence[Month]) -> pl.DataFrame:
        """Stored values that are not what comes out when they are computed again from the moment that they were computed at.

        Returns:
            Columns of `lake.factors.COMPUTED`, and `side`: `stored` or `computed`; none where all are the same to the last bit.
        """
        newest = {row["start"]: row for row in factors.newest_runs(lake.store.tables, self.name).to_dicts()}
        found = [pl.DataFrame(schema={**_LONG, "side": pl.String()})]
        for month in months:
            if month.start not in newest:
                continue
            moment = newest[month.start]["data_as_of"]
            again = pl.concat([self._to_long(rows) for _, rows, _ in self.compute(lake, [month], moment)])
            stored = factors.read(lake.store.tables, self.name, month.start, month.end).select(again.columns)
            for side, own, other in (("stored", stored, again), ("computed", again, stored)):
                lost = own.join(other, on=own.columns, how="anti", nulls_equal=True, maintain_order="left")
                found.append(lost.with_columns(side=pl.lit(side)))
        return pl.concat(found)


def data_moment(lake: Lake, settings: FactorSetSettings) -> datetime:
    """The newest moment of everything that a pipeline reads: what is read as of it never changes."""
    names = [*answering_tables(settings.resolution), FUNDAMENTALS.name, LISTINGS.name, INSTRUMENTS.name]
    return newest_moment(lake.store.tables, names)


# By module, the digest of the file that it was imported from.
_IMPORTED: dict[str, str] = {}
_LONG = {name: FACTORS.polars[name] for name in factors.COMPUTED}


def _long(rows: pl.DataFrame, name: str, term: Term) -> pl.DataFrame:
    kind = kind_of(term)
    is_text = kind is FactorKind.TEXT
    values = {
        "factor": pl.lit(name),
        "kind": pl.lit(kind.value),
        "value": pl.lit(None) if is_text else pl.col(name),
        "text": pl.col(name) if is_text else pl.lit(None),
    }
    return rows.select((values.get(column, pl.col(column)).cast(kind).alias(column) for column, kind in _LONG.items()))


def kind_of(term: Term) -> FactorKind:
    """What the values of a term are."""
    if isinstance(term, Factor):
        return FactorKind.NUMBER
    if isinstance(term, Filter):
        return FactorKind.FLAG
    return FactorKind.GROUP if isinstance(term, Classifier) and term.data_type.is_integer() else FactorKind.TEXT


def _pipeline(own: FactorSetSettings, folder: Path) -> Pipeline:
    if own.pipeline is None:
        screen = None if own.screen is None else parse_expression(own.screen)
        if screen is not None and not isinstance(screen, Filter):
            raise ConfigError(f"the screen {own.screen!r:.80} is a number", fix="compare it: $close > 5")
        return Pipeline({name: parse_expression(text) for name, text in own.expressions.items()}, screen)
    module, _, attribute = own.pipeline.partition(":")
    digest = module_digest(own, folder)
    try:
        imported = importlib.import_module(module)
        if _IMPORTED.setdefault(module, digest) != digest:
            # A process that lives long computes what the file says now, under whose digest it is stored.
            imported = importlib.reload(imported)
            _IMPORTED[module] = digest
        found = getattr(imported, attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{own.pipeline} cannot be imported: {error}", fix=f"check the name, and {folder}") from error
    made = found() if callable(found) else found
    if not isinstance(made, Pipeline):
        raise ConfigError(f"{own.pipeline} is a {type(made).__name__}", fix="name a Pipeline, or a function of it")
    if not made.columns:
        raise ConfigError(f"{own.pipeline} has no column", fix="add one: Pipeline({'momentum': Returns(120)})")
    return made


def module_digest(own: FactorSetSettings, folder: Path) -> str:
    """SHA-256 of the file of the module that a set names, without what that imports; empty where there is none.

    Args:
        folder: that of gb.yaml, where modules are looked for as well.
    """
    if own.pipeline is None:
        return ""
    place = str(folder)
    if place not in sys.path:
        # The command `gb` does not look beside gb.yaml.
        sys.path.append(place)
    importlib.invalidate_caches()
    try:
        found = importlib.util.find_spec(own.pipeline.partition(":")[0])
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return ""
    return hashlib.sha256(Path(found.origin).read_bytes()).hexdigest()


def next_month(begin: date) -> date:
    """The first day of the month after that of a day."""
    return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)


def _stretches(months: Sequence[Month]) -> Iterator[list[Month]]:
    """Months that follow one another, oldest first."""
    stretch: list[Month] = []
    for month in sorted(set(months), key=lambda each: each.start):
        if stretch and stretch[-1].end != month.start:
            yield stretch
            stretch = []
        stretch.append(month)
    if stretch:
        yield stretch
