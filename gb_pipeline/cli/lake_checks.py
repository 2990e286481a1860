"""What `gb doctor` looks at in a lake: logs, files, ledger and catalog, without reading what is in the files.

Belongs here: findings about tables that disagree with each other or with the disk, each with the repair. Does not belong here:
reading every byte, which is `gb verify`. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.cli.checks import CheckResult, Finding
from gb_pipeline.cli.output import count, size
from gb_pipeline.errors import GbError, LakeError

if TYPE_CHECKING:
    import polars as pl

    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.market.resolution import Resolution
    from gb_pipeline.storage.dataset import Dataset

# Of one kind of damage in one table; the rest is counted.
_SHOWN = 5
_LOG_FIX = "`gb verify --repair` puts the log together again from its mirrors"


def lake(root: Path, state: Path) -> Iterator[Finding]:
    """Every table has the log that was written and the files that it names; the ledger knows what is stored; the catalog opens."""
    from gb_pipeline.lake.store import LakeStore

    if not root.is_dir():
        yield Finding("tables", CheckResult.OK, "nothing is stored yet")
        return
    store = LakeStore.at(root, state=state)
    there = False
    for dataset in store.tables.datasets:
        found = list(_table(store, dataset))
        there = there or bool(found)
        yield from found
    if there:
        yield from _ledger(store)
        yield _catalog(store)


def _table(store: LakeStore, dataset: Dataset) -> Iterator[Finding]:
    from gb_pipeline.storage import scrub

    table = store.tables[dataset.name]
    about = f"table {dataset.name}: "
    problems = (about + text.removeprefix(about) for text in scrub.log_problems(table))
    told = [Finding("tables", CheckResult.FAIL, text, _LOG_FIX) for text in problems]
    yield from _shortened(told, _LOG_FIX)
    try:
        snapshot = table.newest()
    except LakeError:
        # Which is one of the problems that were told.
        return
    if snapshot.version < 0:
        return
    broken = [
        Finding("files", CheckResult.FAIL, error.what, error.fix)
        for error in scrub.missing_files(table, snapshot.files)
    ]
    yield from _shortened(broken, "`gb verify` lists them all, and --repair fetches what they held again")
    if not told and not broken:
        files, stored = snapshot.files.height, size(int(snapshot.files["size"].sum()))
        detail = f"{dataset.name}: version {snapshot.version}, {count(files, 'file')}, {stored}"
        yield Finding("tables", CheckResult.OK, detail)


def _shortened(found: list[Finding], fix: str) -> Iterator[Finding]:
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield Finding(found[0].check, CheckResult.FAIL, f"... and {len(found) - _SHOWN:,} more of this table", fix)


def _ledger(store: LakeStore) -> Iterator[Finding]:
    """The ledger counts the bars that the logs of the tables count."""
    from gb_pipeline.market.resolution import Resolution

    found = list(chain.from_iterable(_resolution(store, item) for item in Resolution if item is not Resolution.TICK))
    yield from _shortened([item for item in found if item.verdict is CheckResult.FAIL], "`gb verify` lists them all")
    yield from (item for item in found if item.verdict is CheckResult.WARN)
    if not found:
        yield Finding("ledger", CheckResult.OK, "it counts the bars that are stored")


def _resolution(store: LakeStore, resolution: Resolution) -> Iterator[Finding]:
    import polars as pl

    from gb_pipeline.lake import ledger
    from gb_pipeline.lake.datasets import SESSIONS, bars
    from gb_pipeline.market.schema import Precision

    names = [bars(resolution, precision).name for precision in Precision]
    try:
        snapshots = [store.tables.newest(name) for name in names]
        taken = store.tables.newest(SESSIONS.name).transactions
        known = ledger.current(store.tables, resolution=resolution)
    except GbError:
        # Why that is so is a finding of its own.
        yield Finding(
            "ledger", CheckResult.WARN, f"bars of {resolution} cannot be compared with it", "repair the tables first"
        )
        return
    for snapshot in snapshots:
        if taken.get(snapshot.dataset.name, -1) > snapshot.version:
            yield Finding(
                "ledger",
                CheckResult.FAIL,
                f"table {snapshot.dataset.name} is at version {snapshot.version}, and the ledger knows version"
                f" {taken[snapshot.dataset.name]}: it went backwards or vanished",
                _LOG_FIX,
            )
            return
    keys = ["source", "symbol"] if resolution.intraday else ["source"]
    logged = [_rows(snapshot.files.filter("is_current"), keys) for snapshot in snapshots]
    counted = known.group_by(keys).agg(pl.col("actual").sum().cast(pl.Int64).alias("recorded"))
    both = counted.join(pl.concat(logged).group_by(keys).agg(pl.col("rows").sum()), on=keys, how="full", coalesce=True)
    both = both.join(logged[1].rename({"rows": "wide"}), on=keys, how="left").fill_null(0).sort(keys)
    # A bar of a wide table hides one of the standard table, so that the logs count some twice.
    least = (
        pl.when(pl.col("wide") > 0).then(pl.max_horizontal("wide", pl.col("rows") - pl.col("wide"))).otherwise("rows")
    )
    wrong = both.filter((pl.col("recorded") > pl.col("rows")) | (pl.col("recorded") < least))
    for row in wrong.iter_rows(named=True):
        series = ":".join(row[name] for name in keys)
        yield Finding(
            "ledger",
            CheckResult.FAIL,
            f"{series} {resolution}: the ledger counts {count(row['recorded'], 'bar')}, the log {row['rows']:,}",
            f"`gb verify{f' {series}' if resolution.intraday else ''}` says which sessions, --repair fetches them again",
        )


def _rows(files: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    import polars as pl

    return files.group_by(keys).agg(pl.col("rows").sum())


def _catalog(store: LakeStore) -> Finding:
    import duckdb

    from gb_pipeline.catalog.projection import catalog_is_stale

    file = store.storage.catalog
    if not file.is_file():
        return Finding("catalog", CheckResult.WARN, f"there is no {file}", "the next fetch or `gb up` writes it")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            rows = connection.execute("select count(*) from symbol_data").fetchone()
    except duckdb.Error as error:
        return Finding("catalog", CheckResult.FAIL, f"{file} cannot be read: {error}", "delete it; it is written anew")
    detail = f"{file}: {rows[0] if rows else 0:,} series"
    if catalog_is_stale(store):
        return Finding(
            "catalog", CheckResult.WARN, f"{detail}, but older than the lake", "`gb sql` or `gb up` refreshes it"
        )
    return Finding("catalog", CheckResult.OK, detail)
