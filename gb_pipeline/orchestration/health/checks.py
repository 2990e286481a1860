"""Checks that ask Dagster: partitions that are red, and whether it shows what the lake holds.

What Dagster keeps of partitions is taken from its own cache (`dagster_runtime.status_cache`), what is stored from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.home import has_home
from gb_pipeline.health.checkup import examine_one
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.ingest.attempts import DEFERRED
from gb_pipeline.market.moments import from_microseconds, instant_literal
from gb_pipeline.orchestration.events.project_events import open_instance
from gb_pipeline.orchestration.healing.asking import find_deferrals
from gb_pipeline.orchestration.health.shown import Shown, compare_with_lake

_SERIES = ["source", "resolution", "symbol"]
# One day's calls may not suffice for all that waits for it.
_OVERDUE = timedelta(days=2)


@dataclass(frozen=True)
class DagsterCheck:
    """A check that looks at an instance; `meaning` is what it looks for."""

    meaning: str
    look: Callable[[Shown], HealthResult]


def find_failed_partitions(shown: Shown) -> HealthResult:
    """Partitions that Dagster shows as failed."""
    failed = shown.partitions.filter("failed")
    if failed.is_empty():
        return HealthResult("failed_partitions", State.OK, "no partition is red")
    stored = int(failed["stored"].sum())
    series = failed.n_unique(_SERIES)
    kept = f", {stored:,} of them stored by an earlier fetch" if stored else ""
    lost = failed.filter(~pl.col("stored"))
    commands = [f"gb update {' '.join(lost['source'].unique().sort())}"] if lost.height else []
    commands += list(_fetch_again(shown, failed.filter("stored")))
    return HealthResult(
        "failed_partitions",
        State.FAIL,
        f"{failed.height:,} partition{'s' if failed.height > 1 else ''} of {series:,} series {_are(failed.height)} red{kept}",
        failed.height,
        {"stored": stored, "series": series},
        failed.select(*_SERIES, "key", "stored")
        .sort("key", *_SERIES, descending=[True, False, False, False])
        .head(SAMPLE),
        commands[0],
        "; ".join(f"then `{command}`" for command in commands[1:3]),
    )


def _fetch_again(shown: Shown, rows: pl.DataFrame) -> Iterator[str]:
    """Commands that ask for stored partitions once more, so that Dagster sees them succeed."""
    for (source, resolution), part in rows.group_by("source", "resolution", maintain_order=True):
        partitioning = shown.groups[str(source), str(resolution)].partitioning
        spans = [partitioning.sessions(key) for key in part["key"].unique()]
        symbols = " ".join(part["symbol"].unique().sort())
        first, end = min(begin for begin, _ in spans), max(end for _, end in spans)
        yield f"gb fetch {source} {symbols} -r {resolution} --start {first} --end {end} --again"


def find_unequal(shown: Shown) -> HealthResult:
    """Partitions that are stored and not shown, and partitions that are shown and not stored."""
    name, rows = "dagster_equals_lake", shown.partitions.filter(~pl.col("in_progress"))
    unshown = rows.filter(pl.col("stored") & ~pl.col("materialized"))
    absent = rows.filter(~pl.col("stored") & pl.col("materialized") & ~pl.col("failed"))
    if unshown.is_empty() and absent.is_empty():
        stored = int(rows["stored"].sum())
        return HealthResult(
            name, State.OK, f"Dagster shows what is stored: {stored:,} partitions", 0, {"stored": stored}
        )
    parts = [f"{unshown.height:,} stored partitions are shown as missing"] if unshown.height else []
    parts += [f"{absent.height:,} partitions are green and not stored"] if absent.height else []
    commands = [f"gb adopt {' '.join(unshown['source'].unique().sort())}"] if unshown.height else []
    commands += [f"gb update {' '.join(absent['source'].unique().sort())}"] if absent.height else []
    return HealthResult(
        name,
        State.FAIL if absent.height else State.WARN,
        "; ".join(parts),
        unshown.height + absent.height,
        {"shown_as_missing": unshown.height, "green_and_not_stored": absent.height},
        _sample(absent, unshown),
        commands[0],
        f"then `{commands[1]}`" if commands[1:] else "",
    )


def _sample(absent: pl.DataFrame, unshown: pl.DataFrame) -> pl.DataFrame:
    parts = [(absent, "green, not stored"), (unshown, "stored, shown as missing")]
    rows = [part.select(*_SERIES, "key").with_columns(pl.lit(text).alias("partition is")) for part, text in parts]
    # Of a lake that Dagster knows nothing of there are a million.
    return pl.concat([part.top_k(SAMPLE, by="key").sort("key", descending=True) for part in rows]).head(SAMPLE)


def find_deferred_partitions(shown: Shown) -> HealthResult:
    """Partitions that wait for the vendor's next day, and whether that has begun long ago."""
    name = "deferred_partitions"
    parts = [pl.DataFrame(schema={**DEFERRED, "source": pl.String(), "resolution": pl.String()})]
    for (source, resolution), group in shown.groups.items():
        named = {"source": pl.lit(source), "resolution": pl.lit(resolution)}
        parts.append(find_deferrals(shown.instance, group).with_columns(**named))
    keys = [*_SERIES, "first"]
    rows = pl.concat(parts).group_by(keys).agg(pl.col("until").max(), pl.col("run_id").n_unique().alias("attempts"))
    if rows.is_empty():
        return HealthResult(name, State.OK, "nothing waits for a vendor's next day")
    overdue = rows.filter(pl.col("until") < instant_literal(shown.now - _OVERDUE))
    series, until = rows.n_unique(_SERIES), from_microseconds(rows["until"].dt.timestamp("us").max())  # type: ignore[arg-type]
    said = (
        f"{rows.height:,} partition{'s' if rows.height > 1 else ''} of {series:,} series"
        f" {'wait' if rows.height > 1 else 'waits'} for the vendor's next day, which begins at {until:%Y-%m-%d %H:%M}Z"
    )
    counts = {"deferred": rows.height, "series": series, "overdue": overdue.height}
    sample = rows.sort("until", *keys).head(SAMPLE)
    if overdue.is_empty():
        return HealthResult(name, State.OK, said, 0, counts, sample)
    return HealthResult(
        name,
        State.WARN,
        f"{overdue.height:,} partitions were deferred to a day of the vendor's that is over, and were not asked for since",
        overdue.height,
        counts,
        sample,
        f"gb update {' '.join(overdue['source'].unique().sort())}",
        "look whether the sensors `..._deferred` run; a larger `daily_quota` makes it sooner",
    )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


DAGSTER_CHECKS: Mapping[str, DagsterCheck] = {
    "failed_partitions": DagsterCheck("No partition of a series is red.", find_failed_partitions),
    "deferred_partitions": DagsterCheck(
        "What the calls of a vendor's day did not suffice for is asked for on the next one.", find_deferred_partitions
    ),
    "dagster_equals_lake": DagsterCheck(
        "Dagster shows every partition that is stored, and none that is not.", find_unequal
    ),
}


def examine_dagster(
    state: ProjectState, names: Iterable[str] = (), instance: dg.DagsterInstance | None = None
) -> Iterator[HealthResult]:
    """Run checks that ask Dagster.

    Args:
        state: the project and its lake.
        names: of checks; all by default.
        instance: that is asked; by default the project's own, and where it has none the checks are skipped.
    """
    chosen = list(names) or list(DAGSTER_CHECKS)
    if instance is None:
        if not has_home(state.settings.path.parent):
            for name in chosen:
                yield HealthResult(name, State.SKIPPED, "Dagster was never started here")
            return
        with ExitStack() as opened:
            try:
                with _readable():
                    own = opened.enter_context(open_instance(state.settings))
            except DagsterError as error:
                for name in chosen:
                    yield HealthResult(name, State.FAIL, error.what, 1, advice=error.fix)
                return
            yield from examine_dagster(state, chosen, own)
        return
    known: list[Shown] = []

    def look(check: DagsterCheck) -> Callable[[ProjectState], HealthResult]:
        def with_shown(state: ProjectState) -> HealthResult:
            if not known:
                with _readable():
                    known.append(compare_with_lake(state, instance))
            return check.look(known[0])

        return with_shown

    for name in chosen:
        yield examine_one(state, name, look(DAGSTER_CHECKS[name]))


@contextmanager
def _readable() -> Iterator[None]:
    """An error of Dagster's database as one that says what to do."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise DagsterError(
            f"Dagster's history cannot be read: {' '.join(str(error).split())[:200]}",
            fix="nothing of the lake is lost: put the instance's database back, or move `.dagster` away and run `gb adopt`",
        ) from error
