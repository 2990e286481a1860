"""Checks of the care of a lake: files that wait for compaction, the last verification, and the catalog."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.catalog.published import fetch_catalog, open_newest
from gb_pipeline.config.source_facts import facts_of
from gb_pipeline.errors import LakeError
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import SAMPLE, HealthResult, State
from gb_pipeline.lake.datasets import parse_bar_table
from gb_pipeline.lake.verify_record import read_verification
from gb_pipeline.storage.compaction import find_candidates

# A period counts as closed a week after its end, when its last sessions have settled; another day compaction has for it.
_CLOSED = timedelta(days=8)
# An open period is merged once a day at most, so that it may have some.
_MANY_FILES = 100
_REFRESH = 'gb sql "select count(*) from symbol_data"'


def find_crowded(state: ProjectState) -> HealthResult:
    """Partitions of closed periods with several files, and open ones with very many: compaction is behind."""
    name, most = "small_files", state.limits.crowded_partitions
    if not state.stores_something:
        return HealthResult(name, State.SKIPPED, "nothing is stored yet")
    partitions = find_candidates(state.store.tables, now=state.now - _CLOSED, damaged=[])
    crowded = [item for item in partitions if item.closed or item.files >= _MANY_FILES]
    files = sum(item.files for item in crowded)
    counts = {"partitions": len(crowded), "files": files}
    sample = pl.DataFrame(
        [(str(item), item.files, item.rows, item.bytes) for item in crowded[:SAMPLE]],
        schema={"partition": pl.String(), "files": pl.Int64(), "rows": pl.Int64(), "bytes": pl.Int64()},
        orient="row",
    )
    if len(crowded) <= most:
        waits = f"{len(crowded)} partitions wait for compaction" if crowded else "no partition has too many files"
        return HealthResult(name, State.OK, waits, 0, counts, sample)
    return HealthResult(
        name,
        State.WARN,
        f"{len(crowded):,} partitions of {files:,} files wait for compaction, and {most:,} may",
        len(crowded),
        counts,
        sample,
        "gb compact",
    )


def find_unverified(state: ProjectState) -> HealthResult:
    """The last verification of the whole lake: too long ago, or what it found."""
    name, days = "verification", state.limits.verify_days
    if not state.stores_something:
        return HealthResult(name, State.SKIPPED, "nothing is stored yet")
    record = read_verification(state.store.storage)
    if record is None:
        return HealthResult(name, State.WARN, "the lake was never verified as a whole", 1, repair="gb verify")
    age = (state.now - record.at).days
    counts = {"days": age, "files": record.files, "sessions": record.sessions, "problems": record.problems}
    when = f"{record.at:%Y-%m-%d %H:%M}Z"
    if record.problems:
        return HealthResult(
            name, State.FAIL, f"the verification of {when} found {record.problems:,} problems: {record.damages[0]}",
            record.problems, counts, pl.DataFrame({"damage": list(record.damages)}), "gb verify --repair",
        )  # fmt: skip
    if age > days:
        return HealthResult(
            name, State.WARN, f"the last verification is {age:,} days old ({when})", age, counts, repair="gb verify"
        )
    return HealthResult(name, State.OK, f"everything was as it was written ({when})", 0, counts)


def find_stale(state: ProjectState) -> HealthResult:
    """Tables whose logs cannot be read, and a catalog that does not say what the logs say."""
    name, store = "catalog", state.store
    damaged: list[LakeError] = []
    tables = list(store.tables.existing(damaged)) if store.storage.exists else []
    if damaged:
        return HealthResult(
            name, State.FAIL, f"{len(damaged)} tables cannot be read: {damaged[0].what}", len(damaged),
            sample=pl.DataFrame({"problem": [error.what for error in damaged[:SAMPLE]]}), repair="gb verify --repair",
        )  # fmt: skip
    if not tables:
        return HealthResult(name, State.SKIPPED, "nothing is stored yet")
    files = {item.dataset.name: item.files.height for item in tables}
    return _find_old_catalog(state) or _compare_catalog(state, files)


def _find_old_catalog(state: ProjectState) -> HealthResult | None:
    """What is wrong with the catalog where it was not made from the newest logs; None where it was."""
    storage = state.store.storage
    file = fetch_catalog(storage)
    if not file.is_file():
        return HealthResult("catalog", State.WARN, "there is no catalog", 1, repair=_REFRESH)
    try:
        open_newest(storage).close()
    except LakeError as error:
        # Somebody writes to it, or it is damaged; a new one takes its place either way.
        return HealthResult("catalog", State.WARN, error.what, 1, repair=_REFRESH)
    if not catalog_is_stale(state.store, facts_of(state.settings.sources)):
        return None
    age = state.now - datetime.fromtimestamp(file.stat().st_mtime, UTC)
    if age <= timedelta(minutes=state.limits.catalog_minutes):
        return HealthResult("catalog", State.OK, "the catalog is about to be refreshed")
    made = f"it was made {age.total_seconds() / 3600:,.1f} hours ago"
    return HealthResult("catalog", State.WARN, f"the catalog is older than the lake: {made}", 1, repair=_REFRESH)


def _compare_catalog(state: ProjectState, files: dict[str, int]) -> HealthResult:
    """A catalog that was made from the newest logs, against these logs."""
    with closing(open_newest(state.store.storage)) as connection:
        listed = dict(connection.execute('select "table", count(*) from files group by all').fetchall())
    logged = {table: count for table, count in files.items() if parse_bar_table(table) is not None and count}
    different = [
        (table, logged.get(table, 0), listed.get(table, 0))
        for table in sorted({*logged, *listed})
        if logged.get(table, 0) != listed.get(table, 0)
    ]
    if not different:
        return HealthResult(
            "catalog", State.OK, "the catalog says what the logs say", 0, {"files": sum(logged.values())}
        )
    schema = {"table": pl.String(), "files_of_log": pl.Int64(), "files_of_catalog": pl.Int64()}
    return HealthResult(
        "catalog", State.FAIL, f"the catalog lists other files than the logs, of {len(different)} tables", len(different),
        sample=pl.DataFrame(different, schema=schema, orient="row"),
        advice=f"remove {state.store.storage.catalog}; `{_REFRESH}` makes it again",
    )  # fmt: skip
