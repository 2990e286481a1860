"""`gb doctor`'s checks of a lake: do the tables agree with each other and with the files on disk?

They read logs, the ledger and the catalog, but not what is in the files, which is what `gb verify` does. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.checks import CheckResult, Finding
from gb_pipeline.cli.output import format_size
from gb_pipeline.errors import GbError, LakeError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.config.bucket import Address
    from gb_pipeline.config.settings import Settings
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.storage.dataset import Dataset

# Of one kind of damage in one table; the rest is counted.
_MOST_FINDINGS = 5
_LOG_FIX = "`gb verify --repair` puts the log together again from its mirrors"


def check_lake(root: Address, state: Path) -> Iterator[Finding]:
    """Every table has the log that was written and the files that it names; the ledger knows what is stored; the catalog opens."""
    from gb_pipeline.lake.store import LakeStore

    try:
        store = LakeStore.at(root, state=state)
        exists = store.storage.exists
        store.storage.refuse_other_format()
    except GbError as error:
        yield Finding("tables", CheckResult.FAIL, error.what, error.fix)
        return
    if not exists:
        yield Finding("tables", CheckResult.OK, "nothing is stored yet")
        return
    has_tables = False
    for dataset in store.tables.datasets:
        findings = list(_check_table(store, dataset))
        has_tables = has_tables or bool(findings)
        yield from findings
    if has_tables:
        yield from _check_ledger(store)
        yield _check_catalog(store)


def check_calendars(settings: Settings) -> Iterator[Finding]:
    """Every stored session is what the calendar of its source says today."""
    from gb_pipeline.cli.calendars import find_changed_sessions
    from gb_pipeline.lake.store import LakeStore

    try:
        store = LakeStore.at(settings.lake, state=settings.state)
        if not store.storage.exists:
            return
        changed = find_changed_sessions(settings, store)
    except GbError as error:
        yield Finding("calendars", CheckResult.WARN, error.what, error.fix)
        return
    for source, count in changed.items():
        calendar = settings.source(source).calendar
        detail = f"{source}: calendar {calendar} changes {format_count(count, 'stored session')}"
        yield Finding("calendars", CheckResult.WARN, detail, f"`gb calendars {source}` lists them")


def check_incidents(settings: Settings) -> Iterator[Finding]:
    """What incidents.yaml names is there."""
    from gb_pipeline.cli.incidents import read_checked

    if settings.incidents is None:
        return
    try:
        items, _ = read_checked(settings)
    except GbError as error:
        yield Finding("incidents", CheckResult.FAIL, error.what, error.fix)
        return
    yield Finding("incidents", CheckResult.OK, f"{settings.incidents}: {format_count(len(items), 'incident')}")


def _check_table(store: LakeStore, dataset: Dataset) -> Iterator[Finding]:
    from gb_pipeline.storage import scrub

    table = store.tables[dataset.name]
    prefix = f"table {dataset.name}: "
    problems = (prefix + text.removeprefix(prefix) for text in scrub.find_log_problems(table))
    log_findings = [Finding("tables", CheckResult.FAIL, text, _LOG_FIX) for text in problems]
    yield from _abbreviate(log_findings, _LOG_FIX)
    try:
        snapshot = table.newest()
    except LakeError:
        # This is among the problems of the log.
        return
    if snapshot.version < 0:
        return
    file_findings = [
        Finding("files", CheckResult.FAIL, error.what, error.fix)
        for error in scrub.find_missing_files(table, snapshot.files)
    ]
    yield from _abbreviate(file_findings, "`gb verify` lists them all, and --repair fetches what they held again")
    if not log_findings and not file_findings:
        files, total = snapshot.files.height, format_size(int(snapshot.files["size"].sum()))
        detail = f"{dataset.name}: version {snapshot.version}, {format_count(files, 'file')}, {total}"
        yield Finding("tables", CheckResult.OK, detail)


def _abbreviate(findings: list[Finding], fix: str) -> Iterator[Finding]:
    yield from findings[:_MOST_FINDINGS]
    if len(findings) > _MOST_FINDINGS:
        yield Finding(
            findings[0].check, CheckResult.FAIL, f"... and {len(findings) - _MOST_FINDINGS:,} more of this table", fix
        )


def _check_ledger(store: LakeStore) -> Iterator[Finding]:
    """The ledger counts the bars that the logs of the tables count."""
    from gb_pipeline.market.resolution import Resolution

    resolutions = [resolution for resolution in Resolution if resolution is not Resolution.TICK]
    findings = [finding for resolution in resolutions for finding in _check_resolution(store, resolution)]
    failures = [finding for finding in findings if finding.result is CheckResult.FAIL]
    yield from _abbreviate(failures, "`gb verify` lists them all")
    yield from (finding for finding in findings if finding.result is CheckResult.WARN)
    if not findings:
        yield Finding("ledger", CheckResult.OK, "it counts the bars that are stored")


def _check_resolution(store: LakeStore, resolution: Resolution) -> Iterator[Finding]:
    import polars as pl

    from gb_pipeline.lake import ledger
    from gb_pipeline.lake.datasets import SESSIONS, bars_dataset
    from gb_pipeline.market.schema import Precision

    names = [bars_dataset(resolution, precision).name for precision in Precision]
    try:
        snapshots = [store.tables.newest(name) for name in names]
        recorded_versions = store.tables.newest(SESSIONS.name).transactions
        ledger_rows = ledger.current(store.tables, resolution=resolution)
    except GbError:
        # The reason is a finding of its own.
        yield Finding(
            "ledger", CheckResult.WARN, f"bars of {resolution} cannot be compared with it", "repair the tables first"
        )
        return
    for snapshot in snapshots:
        if recorded_versions.get(snapshot.dataset.name, -1) > snapshot.version:
            yield Finding(
                "ledger",
                CheckResult.FAIL,
                f"table {snapshot.dataset.name} is at version {snapshot.version}, and the ledger knows version"
                f" {recorded_versions[snapshot.dataset.name]}: it went backwards or vanished",
                _LOG_FIX,
            )
            return
    keys = ["source", "symbol"] if resolution.intraday else ["source"]
    log_counts = [_sum_rows(snapshot.files.filter("is_current"), keys) for snapshot in snapshots]
    ledger_counts = ledger_rows.group_by(keys).agg(pl.col("actual").sum().cast(pl.Int64).alias("recorded"))
    counts = ledger_counts.join(
        pl.concat(log_counts).group_by(keys).agg(pl.col("rows").sum()), on=keys, how="full", coalesce=True
    )
    counts = counts.join(log_counts[1].rename({"rows": "wide"}), on=keys, how="left").fill_null(0).sort(keys)
    # A bar of a wide table hides one of the standard table, so that the logs count some twice.
    fewest = (
        pl.when(pl.col("wide") > 0).then(pl.max_horizontal("wide", pl.col("rows") - pl.col("wide"))).otherwise("rows")
    )
    mismatches = counts.filter((pl.col("recorded") > pl.col("rows")) | (pl.col("recorded") < fewest))
    for row in mismatches.iter_rows(named=True):
        series = ":".join(row[name] for name in keys)
        yield Finding(
            "ledger",
            CheckResult.FAIL,
            f"{series} {resolution}: the ledger counts {format_count(row['recorded'], 'bar')}, the log {row['rows']:,}",
            f"`gb verify{f' {series}' if resolution.intraday else ''}` says which sessions, --repair fetches them again",
        )


def _sum_rows(files: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    import polars as pl

    return files.group_by(keys).agg(pl.col("rows").sum())


def _check_catalog(store: LakeStore) -> Finding:
    import duckdb

    from gb_pipeline.catalog.projection import catalog_is_stale
    from gb_pipeline.catalog.published import NAME, fetch_catalog

    file = fetch_catalog(store.storage)
    # Of a lake in a bucket the file is this machine's copy.
    shown = f"{store.storage.root}/{NAME}"
    if not file.is_file():
        return Finding("catalog", CheckResult.WARN, f"there is no {shown}", "the next fetch or `gb up` writes it")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            rows = connection.execute("select count(*) from symbol_data").fetchone()
    except duckdb.Error as error:
        return Finding(
            "catalog", CheckResult.FAIL, f"{shown} cannot be read: {error}", "delete it; it will be written again"
        )
    detail = f"{shown}: {rows[0] if rows else 0:,} series"
    if catalog_is_stale(store):
        return Finding(
            "catalog", CheckResult.WARN, f"{detail}, but older than the lake", "`gb sql` or `gb up` refreshes it"
        )
    return Finding("catalog", CheckResult.OK, detail)
