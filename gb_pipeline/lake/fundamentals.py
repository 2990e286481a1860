"""This module reads and writes fundamentals, as the vendor has them now and had them at any earlier moment.

What a row says is checked in `quality.fundamentals`, and compared with what is stored in `vendor_rows`. Here it is decided since
when the public could have a row's content (`published_at`), which is what keeps a backtest from looking ahead:

* what a vendor tells for the first time was published at the end of the day on which the period was reported, in New York, where
  the vendor says that day; else when this lake first saw it;
* what replaces a number that was published already, a restatement, was published when this lake first saw it;
* what fills an empty place that was fetched before the day of the report was published at the end of that day;
* a day of the report that is told, or put right, later moves the first of these, but not a restatement;
* a day of the report that lies before the end of its period is not believed;
* a snapshot was published when this lake first saw it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

import polars as pl

from gb_pipeline.lake import quarantine
from gb_pipeline.lake.datasets import FUNDAMENTALS
from gb_pipeline.lake.vendor_rows import (
    CHANGE,
    NEW,
    RESTATED,
    STORED,
    Comparison,
    added_rows,
    compare,
    select_versions,
    stored_schema,
)
from gb_pipeline.market.fundamental_schema import PeriodKind
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.window import Window
from gb_pipeline.quality.corporate_actions import BAD
from gb_pipeline.quality.fundamentals import FUNDAMENTAL, FUNDAMENTAL_KEY, Validated, validate_fundamentals
from gb_pipeline.quality.reasons import FETCHED_BEFORE_STORED
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

TABLE = FUNDAMENTALS.name
FUNDAMENTALS_STORED = stored_schema(FUNDAMENTALS)
_ORDER = ["source", *FUNDAMENTAL_KEY]
_REPORT_ZONE = "America/New_York"
_DAY = timedelta(days=1)
_WORST = 5
# What a row says; whose change is a restatement.
_TOLD = ("value", "text", "unit", "currency")


@dataclass(frozen=True, slots=True)
class FundamentalsReport:
    """One write of fundamentals or listings; `received == new + restated + unchanged + quarantined + repeated + late`.

    Attributes:
        received: rows of the frame.
        new: rows that the lake did not hold.
        restated: rows that it held with another content, or as withdrawn; the old versions stay.
        unchanged: rows that it held with this content.
        withdrawn: rows that the vendor no longer returns.
        quarantined: rows that were refused.
        repeated: rows that equal another row of the response.
        late: rows that differ from what a later request brought; they changed nothing and are in quarantine.
        worst: the first few refused rows: `symbol`, `why`, `row`, as text.
        by_symbol: the counts of each symbol that has any, under the names of the fields above.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    source: str
    received: int
    new: int
    restated: int
    unchanged: int
    withdrawn: int
    quarantined: int
    repeated: int
    late: int
    worst: tuple[Mapping[str, str], ...]
    by_symbol: Mapping[str, Mapping[str, int]]
    version: int | None


def read(
    tables: Tables,
    source: str | None = None,
    symbols: Sequence[str] | None = None,
    as_of: datetime | None = None,
    *,
    statements: Sequence[str] | None = None,
    withdrawn: bool = False,
    versions: bool = False,
) -> pl.DataFrame:
    """The rows that are valid now, or were at a moment.

    Args:
        statements: only these; all by default.
        withdrawn: also those that the vendor no longer returned by then.
        versions: every version that was known by then, with `superseded_at` as it is known now.

    Returns:
        Columns of `FUNDAMENTALS_STORED`, `withdrawn` never null, in the order of source and key.
    """
    snapshot = tables.newest(TABLE)
    partitions: dict[str, object] = {} if source is None else {"source": source}
    if statements is not None:
        partitions["statement"] = list(statements)
    files = snapshot.select(partitions, holding={"symbol": symbols} if symbols is not None else None)
    if versions:
        rows = reading.read(tables.storage, FUNDAMENTALS, files)
        rows = rows if as_of is None else rows.filter(pl.col(KNOWN_AT) <= instant_literal(as_of))
    elif as_of is None:
        rows = reading.read(tables.storage, FUNDAMENTALS, reading.current_files(snapshot, files))
    else:
        rows = reading.read(tables.storage, FUNDAMENTALS, reading.files_valid_at(files, as_of))
        rows = rows.filter(reading.valid_at(as_of, history=True))
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    names = [*FUNDAMENTALS_STORED.names(), *(["superseded_at"] if versions else [])]
    return select_versions(rows, withdrawn=withdrawn).sort(*_ORDER, KNOWN_AT).select(names)


def write_fundamentals(
    tables: Tables,
    source: str,
    symbols: Sequence[str],
    frame: pl.DataFrame,
    *,
    fetched_at: Mapping[str, datetime],
    run_id: str | None,
    clock: Clock,
) -> FundamentalsReport:
    """See `LakeStore.write_fundamentals`."""
    codes, validation, moments = _validated(symbols, frame, fetched_at)
    window = window_of_day(min(fetched_at.values()))

    def quarantine_rows(rows: pl.DataFrame) -> None:
        at = max(*fetched_at.values(), clock())
        quarantine.record(tables, source, TABLE, window, rows, quarantined_at=at, run_id=run_id, clock=clock)

    quarantine_rows(validation.bad)

    def decide(draft: Draft) -> tuple[FundamentalsReport, pl.DataFrame]:
        return _decide(draft, source, codes, validation, moments)

    report, late = commit(tables[TABLE], decide, clock=clock)
    quarantine_rows(late)
    return report


def compare_fundamentals(
    tables: Tables, source: str, symbols: Sequence[str], frame: pl.DataFrame, fetched_at: Mapping[str, datetime]
) -> FundamentalsReport:
    """What `write_fundamentals` would do with an answer; nothing is written."""
    codes, validation, moments = _validated(symbols, frame, fetched_at)
    stored = read(tables, source, codes, statements=validation.good["statement"].unique().to_list(), withdrawn=True)
    good = validation.good.join(moments, on="symbol", how="left", maintain_order="left")
    return make_report(source, validation, _compare(_keep_reported_dates(good, stored), stored, validation), None)


def make_report(source: str, validation: Validated, compared: Comparison, version: int | None) -> FundamentalsReport:
    """The report of one write."""
    by_symbol: dict[str, dict[str, int]] = {}
    refused = validation.bad.group_by("symbol").len().select("symbol", pl.lit("quarantined"), "len").rows()
    repeated = (
        validation.repeated.to_frame().group_by("symbol").len().select("symbol", pl.lit("repeated"), "len").rows()
    )
    for symbol, change, number in [*compared.counts().rows(), *refused, *repeated]:
        by_symbol.setdefault(symbol, {})[change] = number
    names = ("new", "restated", "unchanged", "withdrawn", "quarantined", "repeated", "late")
    total = {name: sum(counts.get(name, 0) for counts in by_symbol.values()) for name in names}
    worst = tuple(
        {"symbol": row["symbol"], "why": ", ".join(row["reasons"]), "row": row["row"][:300]}
        for row in validation.bad.head(_WORST).rows(named=True)
    )
    return FundamentalsReport(source, validation.received, **total, worst=worst, by_symbol=by_symbol, version=version)


def late_rows(late: pl.DataFrame, names: Sequence[str], dated: str) -> pl.DataFrame:
    """Rows that came too late, as columns of `BAD`."""
    return late.select(
        "symbol",
        pl.col(dated).alias("session"),
        pl.col(dated).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("timestamp"),
        pl.lit([FETCHED_BEFORE_STORED], pl.List(pl.String())).alias("reasons"),
        pl.struct(pl.col(name).cast(pl.String) for name in names).struct.json_encode().alias("row"),
    ).cast(BAD)


def window_of_day(moment: datetime) -> Window:
    """The day on which something was asked: there is no range of it."""
    first = datetime.combine(moment.astimezone(UTC).date(), time(), UTC)
    return Window(first, first + _DAY)


def _decide(
    draft: Draft, source: str, codes: list[str], validation: Validated, moments: pl.DataFrame
) -> tuple[FundamentalsReport, pl.DataFrame]:
    """One attempt: read, compare, and fill the draft; the report, and what came too late as refused rows."""
    good = validation.good.join(moments, on="symbol", how="left", maintain_order="left")
    statements = good["statement"].unique().sort().to_list()
    chosen = draft.base.select({"source": source, "statement": statements}, holding={"symbol": codes})
    files = reading.current_files(draft.base, chosen)
    file_rows = reading.read(draft.table.storage, FUNDAMENTALS, files, with_file=True)
    stored = file_rows.filter(pl.col("symbol").is_in(codes))
    good = _keep_reported_dates(good, stored)
    compared = _compare(good, stored, validation)
    gone = compared.gone.drop("fetched_at").join(moments, on="symbol", how="left", maintain_order="left")
    version = None
    changed = compared.changed
    if changed.height or gone.height:
        version = draft.base.version + 1
        replacing = _replacing(draft, chosen, changed)
        changed = changed.with_columns(_published_at(draft.stamp, replacing).alias("published_at"))
        added = added_rows(FUNDAMENTALS, source, changed, gone)
        replaced = stored.join(added, on=list(FUNDAMENTAL_KEY), how="semi", nulls_equal=True, maintain_order="left")
        revise(draft, added, replaced, files, file_rows)
    late = late_rows(compared.late, FUNDAMENTAL.names(), "fiscal_period_end")
    return make_report(source, validation, compared, version), late


def _validated(
    symbols: Sequence[str], frame: pl.DataFrame, fetched_at: Mapping[str, datetime]
) -> tuple[list[str], Validated, pl.DataFrame]:
    """The codes, what of the frame is good, and when each symbol was asked for."""
    codes = sorted(set(symbols))
    validation = validate_fundamentals(frame, codes, {code: fetched_at[code].date() for code in codes})
    moments = pl.DataFrame(
        {"symbol": codes, "fetched_at": [fetched_at[code] for code in codes]},
        schema={"symbol": pl.String(), "fetched_at": FUNDAMENTALS.polars["fetched_at"]},
    )
    return codes, validation, moments


def _compare(good: pl.DataFrame, stored: pl.DataFrame, validation: Validated) -> Comparison:
    covered = _covered(good, stored)
    return compare(FUNDAMENTALS, FUNDAMENTAL_KEY, good, stored, validation, derived=("published_at",), covered=covered)


def _keep_reported_dates(good: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """A day of a report that was told once holds: a later question may have been about fewer statements."""
    known = stored.select(*FUNDAMENTAL_KEY, pl.col("reported_date").alias("known_date"))
    joined = good.join(known, on=list(FUNDAMENTAL_KEY), how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(pl.coalesce("reported_date", "known_date").alias("reported_date")).drop("known_date")


def _covered(good: pl.DataFrame, stored: pl.DataFrame) -> pl.Series:
    """Stored rows of which the answer speaks: vendors drop old periods, so only those since the oldest one that came count."""
    group = ["symbol", "statement", "kind"]
    oldest = good.group_by(group).agg(pl.col("fiscal_period_end").min().alias("oldest"), pl.lit(True).alias("came"))
    beside = stored.select(*group, "fiscal_period_end").join(oldest, on=group, how="left", maintain_order="left")
    inside = (pl.col("kind") == PeriodKind.SNAPSHOT.value) | (pl.col("fiscal_period_end") >= pl.col("oldest"))
    return beside.select((pl.col("came") & inside).fill_null(False).alias("covered")).to_series()


def reported_moment(reported_date: pl.Expr) -> pl.Expr:
    """The end of a day of a report, in New York, as an instant in UTC."""
    midnight = (reported_date + pl.duration(days=1)).cast(pl.Datetime("us"))
    return midnight.dt.replace_time_zone(_REPORT_ZONE).dt.convert_time_zone("UTC")


def _replacing(draft: Draft, chosen: pl.DataFrame, changed: pl.DataFrame) -> pl.Series:
    """Of each changed row whether what it says took the place of something else already, before this answer."""
    keys = list(FUNDAMENTAL_KEY)
    same = changed.filter(pl.col(CHANGE) == RESTATED, _same_told(STORED)).select(*keys, *_TOLD, "reported_date")
    none = pl.Series("replacing", [False], pl.Boolean()).new_from_index(0, changed.height)
    if same.is_empty():
        return none
    versions = reading.read(draft.table.storage, FUNDAMENTALS, chosen).select(*keys, *_TOLD, "fetched_at")
    beside = same.join(versions, on=keys, how="inner", nulls_equal=True, maintain_order="left", suffix=STORED)
    was_empty = pl.col("value" + STORED).is_null() & pl.col("text" + STORED).is_null()
    reported = reported_moment(pl.col("reported_date"))
    others = beside.filter(~_same_told(STORED), ~was_empty | (pl.col("fetched_at") >= reported).fill_null(True))
    found = others.select(*keys, pl.lit(True).alias("replacing")).unique(keys)
    joined = changed.select(keys).join(found, on=keys, how="left", nulls_equal=True, maintain_order="left")
    return joined["replacing"].fill_null(False)


def _same_told(suffix: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(name + suffix)) for name in _TOLD)


def _published_at(stamp: datetime, replacing: pl.Series) -> pl.Expr:
    """See the first lines of this module."""
    seen, stored = instant_literal(stamp), pl.col("published_at" + STORED)
    possible = pl.col("reported_date") >= pl.col("fiscal_period_end")
    reported = pl.when(possible).then(reported_moment(pl.col("reported_date")))
    was_empty = pl.col("value" + STORED).is_null() & pl.col("text" + STORED).is_null()
    fills = was_empty & (pl.col("fetched_at" + STORED) < reported)
    return (
        pl.when(pl.col("kind") == PeriodKind.SNAPSHOT.value).then(seen)
        .when(pl.col(CHANGE) == NEW).then(pl.coalesce(reported, seen))
        .when(_same_told(STORED) & pl.lit(replacing)).then(pl.max_horizontal(stored, reported))
        .when(_same_told(STORED)).then(pl.coalesce(reported, stored))
        .when(fills.fill_null(False)).then(reported)
        .otherwise(pl.max_horizontal(seen, reported))
    )  # fmt: skip
