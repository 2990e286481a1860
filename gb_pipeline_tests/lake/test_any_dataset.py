"""A dataset is one declaration: tables that no part of the product knows are written, read, kept and described like any other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline import Lake, LakeError, LakeStore, ReadError
from gb_pipeline.catalog.projection import catalog_is_stale, refresh_catalog
from gb_pipeline.errors import CompactionRefused
from gb_pipeline.lake.verification import verify
from gb_pipeline.storage import append, reading
from gb_pipeline.storage.commit import Draft, commit
from gb_pipeline.storage.dataset import Dataset, Period
from gb_pipeline.storage.history import revise
from gb_pipeline_tests.bars import SetClock, at, day, minutes

T1, T2, T3 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3))
# Analysts' ratings: a day's rating may be revised, and every revision is kept.
RATINGS = Dataset(
    name="ratings",
    columns=pa.schema(
        [
            pa.field("source", pa.string(), nullable=False),
            pa.field("symbol", pa.string(), nullable=False),
            pa.field("published", pa.date32(), nullable=False),
            pa.field("stars", pa.int64(), nullable=False),
            pa.field("target", pa.decimal128(18, 8)),
            pa.field("confidence", pa.float64()),
            pa.field("reasons", pa.list_(pa.string())),
            pa.field("fetched_at", pa.timestamp("us", "UTC"), nullable=False),
        ]
    ),
    key=("source", "symbol", "published"),
    partition_by=("source",),
    order=("symbol", "published"),
    statistics=("symbol", "published"),
    time="published",
    period=Period.YEAR,
    history=True,
    evidence=("fetched_at",),
)
# What was printed on a tape: rows are only ever added, stamps have nanoseconds.
PRINTS = Dataset(
    name="prints",
    columns=pa.schema(
        [pa.field("symbol", pa.string(), nullable=False), pa.field("nanoseconds", pa.int64(), nullable=False)]
    ),
    key=("symbol", "nanoseconds"),
    partition_by=("symbol",),
    order=("nanoseconds",),
    statistics=("nanoseconds",),
)


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, datasets=[RATINGS, PRINTS], clock=SetClock(T1))


def ratings(**stars: int) -> pl.DataFrame:
    """`ratings(AAPL_2023_12_29=4)`: rows as a vendor's answer would have them."""
    rows = []
    for name, number in stars.items():
        symbol, *published = name.split("_")
        rows.append(("vendor", symbol, date(*map(int, published)), number, None, number / 3, ["growth", "risk"], T1))
    types = {field.name: RATINGS.polars[field.name] for field in RATINGS.columns}
    return pl.DataFrame(rows, schema=types, orient="row")


def write(store: LakeStore, answer: pl.DataFrame, now: datetime) -> int | None:
    """What every writer of a table with history does, by nothing but the declaration; the version, None for no commit."""
    store.clock.now = now
    table, key = store.tables[RATINGS.name], list(RATINGS.key)

    def decide(draft: Draft) -> int | None:
        files = reading.current_files(draft.base, draft.base.select({"source": "vendor"}))
        held = reading.read(store.storage, RATINGS, files, with_file=True)
        known = held.select(
            *key, *(pl.col(name).alias(f"old {name}") for name in RATINGS.content), pl.lit(True).alias("known")
        )
        joined = answer.join(known, on=key, how="left")
        same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old {name}")) for name in RATINGS.content)
        new = joined.filter(~(same & pl.col("known").fill_null(False))).select(answer.columns)
        if new.is_empty():
            return None
        replaced = held.join(new.select(key), on=key, how="semi")
        revise(draft, new.sort("source", "symbol", "published"), replaced, files, held)
        return draft.base.version + 1

    return commit(table, decide, clock=store.clock)


def read(store: LakeStore, as_of: datetime | None = None) -> list[tuple[str, date, int]]:
    found = store.tables.newest(RATINGS.name)
    files = reading.current_files(found) if as_of is None else reading.files_valid_at(found.files, as_of)
    rows = reading.read(store.storage, RATINGS, files)
    if as_of is not None:
        rows = rows.filter(reading.valid_at(as_of, history=True))
    return rows.sort(RATINGS.key).select("symbol", "published", "stars").rows()


@pytest.fixture
def filled(store: LakeStore) -> LakeStore:
    """Two years of two symbols, and a rating that was revised twice."""
    assert write(store, ratings(AAPL_2023_12_29=4, AAPL_2024_01_02=3, MSFT_2024_01_02=5), T1) == 0
    assert write(store, ratings(AAPL_2024_01_02=2, MSFT_2024_01_02=5), T2) == 1
    assert write(store, ratings(AAPL_2024_01_02=1), T3) == 2
    return store


def test_its_columns_are_what_was_declared_and_what_storage_adds(filled):
    stored = pl.read_delta(filled.storage.table("ratings"))
    assert stored.schema == RATINGS.polars
    assert stored.columns[-4:] == ["known_at", "superseded_at", "period", "is_current"]
    assert stored["period"].unique().sort().to_list() == ["2023", "2024"]


def test_the_same_content_again_is_no_commit_whenever_it_was_fetched(filled):
    again = ratings(MSFT_2024_01_02=5).with_columns(pl.lit(T3).cast(RATINGS.polars["fetched_at"]).alias("fetched_at"))
    assert write(filled, again, T3) is None


def test_it_is_read_now_and_as_of_any_moment(filled):
    first, revised, other = ("AAPL", date(2023, 12, 29), 4), ("AAPL", date(2024, 1, 2)), ("MSFT", date(2024, 1, 2), 5)
    assert read(filled) == [first, (*revised, 1), other]
    tick = timedelta(microseconds=1)
    for moment, stars in ((T1, 3), (T2 - tick, 3), (T2, 2), (T3 - tick, 2), (T3, 1)):
        assert read(filled, moment) == [first, (*revised, stars), other]
    assert read(filled, T1 - tick) == []


def test_its_files_are_chosen_by_partition_and_statistics(filled):
    found = filled.tables.newest("ratings")
    assert found.select({"period": "2023"})["rows"].to_list() == [1]
    assert found.select(between={"published": (date(2023, 1, 1), date(2024, 1, 1))})["period"].to_list() == ["2023"]
    assert found.select(holding={"symbol": ["MSFT"]}, between={"known_at": (T1, T2)}).filter("is_current").height == 1
    assert found.select(holding={"symbol": ["TSLA"]}).is_empty()


def test_compaction_changes_nothing_that_can_be_read(filled):
    write(filled, ratings(TSLA_2024_01_03=2), T3)
    moments = [None, T1, T2, T3]
    before = [read(filled, moment) for moment in moments]
    found = [item for item in filled.compaction_candidates(min_files=2) if item.table == "ratings"]
    assert sorted(str(item) for item in found) == ["ratings vendor 2024", "ratings vendor 2024 superseded"]
    reports = filled.compact(*found)
    assert [report.files_after for report in reports] == [1, 1]
    assert [read(LakeStore.at(filled.storage.root, datasets=[RATINGS, PRINTS]), moment) for moment in moments] == before


def test_a_row_that_is_there_twice_is_found_by_its_key(filled):
    rows = pl.read_delta(filled.storage.table("ratings")).filter("is_current").drop("period", "is_current")
    commit(filled.tables["ratings"], lambda draft: draft.add(rows.filter(pl.col("symbol") == "MSFT")))
    found = [item for item in filled.compaction_candidates(min_files=2) if item.values.get("is_current")]
    with pytest.raises(CompactionRefused, match="stored twice"):
        filled.compact(*found)


def test_it_is_verified_and_damage_is_named(filled):
    assert verify(filled).ok
    files = filled.tables.newest("ratings").files
    name = files.filter(~pl.col("is_current"), pl.col("min.known_at") == T1)["path"].item()
    path = Path(filled.storage.table("ratings"), name)
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    damaged = LakeStore.at(filled.storage.root, datasets=[RATINGS, PRINTS])
    report = verify(damaged)
    assert [(found.table, Path(found.file).name) for found in report.damages] == [("ratings", path.name)]
    with pytest.raises(LakeError, match=path.name):
        read(damaged, T1)
    assert len(read(damaged)) == 3, "the present lies in other files"


def test_useless_files_of_it_are_vacuumed(filled):
    filled.compact(*[item for item in filled.compaction_candidates(min_files=2) if item.table == "ratings"])
    before = read(filled), read(filled, T2)
    filled.clock.now = datetime.now(UTC) + timedelta(days=60)
    (report,) = [found for found in filled.vacuum(dry_run=False) if found.table == "ratings"]
    assert report.files and report.deleted
    assert (read(filled), read(filled, T2)) == before
    assert verify(filled).ok


def test_the_catalog_has_its_views_and_its_macro(filled):
    assert refresh_catalog(filled).unreadable == {}
    ask = plain_client(filled.storage.catalog)
    assert ask("select symbol, stars, reasons, confidence from ratings where period is not null order by all") is None
    here = "where symbol = 'AAPL' and published = '2024-01-02'"
    assert ask(f"select stars, reasons from ratings {here}") == "[(1, ['growth', 'risk'])]"
    moments = "strftime(known_at, '%m-%d'), strftime(superseded_at, '%m-%d')"
    assert ask(f"select stars, {moments} from ratings_history {here} order by known_at") == (
        "[(3, '02-01', '02-02'), (2, '02-02', '02-03'), (1, '02-03', None)]"
    )
    assert ask(f"select stars from ratings_as_of('2024-02-02 12:00:00+00') {here}") == "[(2,)]"
    assert not catalog_is_stale(filled)
    write(filled, ratings(TSLA_2024_01_03=2), T3)
    assert catalog_is_stale(filled)


def plain_client(catalog: Path) -> Callable[[str], str | None]:
    """Ask as a program that knows nothing of the lake but its file; None where DuckDB refuses the question."""
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); c.execute(\"set timezone = 'UTC'\");"
        "print(c.execute(sys.argv[2]).fetchall())"
    )

    def ask(question: str) -> str | None:
        done = subprocess.run(
            [sys.executable, "-c", code, catalog, question], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    return ask


def test_sql_sees_it_now_and_as_of_a_moment_every_byte_verified(filled):
    lake = Lake(filled)
    question = "select sum(stars)::bigint from ratings"
    assert lake.sql(question).item() == 4 + 1 + 5
    assert lake.sql(question, as_of=T1).item() == 4 + 3 + 5
    assert lake.sql("select count(*) from ratings_history").item() == 5
    assert lake.sql(
        f"select stars from ratings_as_of('{T2.isoformat()}') where symbol = 'AAPL' order by 1"
    ).to_series().to_list() == [2, 4]
    assert lake.sql("select max(confidence) from ratings").item() == 5 / 3


def test_a_table_that_only_grows_is_one_declaration_as_well(store):
    stamps = [1_700_000_000_000_000_000 + number for number in range(3)]
    for number, symbol in enumerate(("AAPL", "MSFT", "AAPL")):
        rows = pl.DataFrame({"symbol": [symbol], "nanoseconds": [stamps[number]]})
        append.append(store.tables["prints"], rows, clock=store.clock)
    lake = Lake(store)
    assert lake.sql("select nanoseconds from prints where symbol = 'AAPL' order by 1").to_series().to_list() == [
        stamps[0], stamps[2],
    ]  # fmt: skip
    (found,) = store.compaction_candidates(min_files=2)
    assert store.compact(found)[0].files_after == 1
    assert verify(store).ok
    assert lake.sql("select count(*) from prints").item() == 3
    with pytest.raises(ReadError):
        lake.sql("select * from prints_history")


def test_it_lies_beside_the_tables_of_the_product_and_disturbs_none(filled):
    filled.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    report = refresh_catalog(filled)
    assert set(report.versions) >= {"bars_1m", "ratings"}
    assert (report.series, report.unreadable) == (1, {})
    lake = Lake(filled)
    assert (
        lake.sql("select count(*) from bars_1m b join ratings r on r.published = b.timestamp::date").item() == 2 * 1440
    )
    without = LakeStore.at(filled.storage.root)
    assert Lake(without).bars("BTC-USD", "1m").height == 1440
    with pytest.raises(LakeError, match="no table 'ratings'"):
        without.tables.newest("ratings")


def test_a_client_that_reads_delta_reads_it_too(filled):
    rows = duckdb.sql(f"select count(*) from read_parquet('{filled.storage.table('ratings')}/**/*.parquet')").fetchall()
    assert rows[0][0] >= 5
    assert pl.scan_delta(filled.storage.table("ratings")).filter("is_current").collect().height == 3
