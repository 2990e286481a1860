"""What engines that speak Iceberg read: pyiceberg with PyArrow, Polars with its own Parquet reader, and DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
from pyiceberg.table import StaticTable

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake

KEY = ["source", "symbol", "timestamp"]
COLUMNS = [*KEY, "open", "high", "low", "close", "volume", "trade_count", "vwap", "withdrawn", "known_at", "fetched_at"]
# A Python that has DuckDB with its extensions `iceberg` and `avro`, which no package brings for DuckDB 2 yet.
WITH_EXTENSION = os.environ.get("GB_DUCKDB_ICEBERG")
_DUCKDB = """
import json, pathlib, sys
import duckdb, duckdb_extension_avro, duckdb_extension_iceberg
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for module, name in ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")):
    file = next(pathlib.Path(module.__file__).parent.rglob(name + ".duckdb_extension"))
    connection.execute(f"load '{file}'")
connection.execute("set timezone = 'UTC'")
columns = ", ".join(f"cast({name} as varchar)" for name in json.loads(sys.argv[2]))
rows = connection.execute(f"select {columns} from iceberg_scan('{sys.argv[1]}') order by all").fetchall()
print(json.dumps(rows))
"""


def table(store: LakeStore, name: str) -> StaticTable:
    """The Iceberg table over a table of the lake, as pyiceberg opens it without a catalog."""
    root, properties = store.storage.root, {}
    if isinstance(root, Bucket):
        properties = {
            "s3.endpoint": root.endpoint or "",
            "s3.region": root.region or "",
            "s3.access-key-id": root.access_key_id or "",
            "s3.secret-access-key": root.secret_access_key or "",
        }
    prefix = "" if isinstance(root, Bucket) else "file://"
    return StaticTable.from_metadata(f"{prefix}{root}/iceberg/{name}", properties)


def by_pyiceberg(store: LakeStore, name: str) -> pl.DataFrame:
    return pl.DataFrame(table(store, name).scan().to_arrow()).select(COLUMNS).sort(KEY)


def by_polars(store: LakeStore, name: str) -> pl.DataFrame:
    return pl.scan_iceberg(table(store, name).metadata_location).select(COLUMNS).sort(KEY).collect()


def by_duckdb(store: LakeStore, name: str) -> pl.DataFrame:
    """DuckDB over what pyiceberg plans and decodes."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("bars", table(store, name).scan().to_arrow())
        answer = connection.sql(f"select {', '.join(COLUMNS)} from bars order by {', '.join(KEY)}")
        return pl.DataFrame(answer.to_arrow_table())


def by_duckdb_extension(store: LakeStore, name: str) -> list[list[str | None]]:
    """Key, prices and volume as text, read by DuckDB's own extension in another Python."""
    folder = f"{store.storage.root}/iceberg/{name}"
    command = [WITH_EXTENSION or sys.executable, "-c", _DUCKDB, folder, json.dumps(COLUMNS[:8])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows: list[list[str | None]] = json.loads(done.stdout)
    return rows


def by_lake(store: LakeStore, resolution: str) -> pl.DataFrame:
    """All bars of now, of both precisions."""
    return Lake(LakeStore(store.storage)).bars(None, resolution, source="sim", columns=COLUMNS).sort(KEY)


def data_files(store: LakeStore) -> dict[Path, int]:
    """Every Parquet file of the folder of the lake, with its size."""
    root = store.storage.root
    assert isinstance(root, Path)
    return {file.relative_to(root): file.stat().st_size for file in root.rglob("*.parquet")}
