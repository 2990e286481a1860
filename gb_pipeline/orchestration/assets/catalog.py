"""The DuckDB catalog is an asset: here it is refreshed, and what is in it is shown.

What it holds is up to `catalog.projection`, and when it is refreshed to `sensors`.
"""

from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from gb_pipeline.catalog.projection import CatalogReport, refresh_catalog
from gb_pipeline.config.settings import Settings
from gb_pipeline.iceberg.exported import require_pyiceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource

CATALOG = dg.AssetKey("catalog")
# Rows of the preview on the asset's page.
_PREVIEW = """select source, symbol, resolution, record_count as bars, cast("start" as varchar) as first,
  cast("end" as varchar) as last, bytes from symbol_data order by source, resolution, symbol limit 25"""
_OPEN_GAPS = "select count(*) from gaps where reason in ('unknown', 'fetch_failed')"


def build_catalog_resource(settings: Settings) -> DuckDBResource:
    """The catalog's file for any asset that wants to ask it with SQL: read-only, so that nobody ever locks it."""
    path = LakeStore.at(settings.lake, state=settings.state).storage.catalog
    return DuckDBResource(database=str(path), connection_config={"access_mode": "READ_ONLY"})


def build_catalog_asset(settings: Settings) -> dg.AssetsDefinition:
    """One unpartitioned asset, refreshed whole: it is a projection, and quick."""

    @dg.asset(
        key=CATALOG,
        group_name="lake",
        kinds={"duckdb"},
        pool="catalog",
        description="What the lake holds, as one DuckDB file: series, files, coverage, gaps, restatements, quarantine, and a"
        " view of every table. Open it with any DuckDB client. It is refreshed by itself after every ingestion.",
    )
    def catalog(lake: LakeResource, duckdb: DuckDBResource) -> dg.MaterializeResult[None]:
        report = refresh_catalog(lake.store, settings.sources)
        metadata = _build_metadata(report, duckdb)
        if settings.iceberg:
            metadata |= _refresh_iceberg(lake)
        return dg.MaterializeResult(metadata=metadata)

    return catalog


def _refresh_iceberg(lake: LakeResource) -> dict[str, Any]:
    require_pyiceberg()
    from gb_pipeline.iceberg.refresh import refresh_iceberg

    rows = [
        {"table": item.table, "bars": item.rows, "files": item.files, "added": item.added, "removed": item.removed}
        for item in refresh_iceberg(lake.store)
    ]
    return {"iceberg": build_table(rows)} if rows else {}


def _build_metadata(report: CatalogReport, duckdb: DuckDBResource) -> dict[str, Any]:
    with duckdb.get_connection() as connection:
        preview = connection.execute(_PREVIEW)
        names = [column[0] for column in preview.description]
        rows = [dict(zip(names, row, strict=True)) for row in preview.fetchall()]
        open_gaps = connection.execute(_OPEN_GAPS).fetchone()[0]
    metadata: dict[str, Any] = {
        "dagster/row_count": report.series,
        "series": report.series,
        "sessions": report.sessions,
        "bars": report.rows,
        "files": report.files,
        "bytes": report.bytes,
        "gaps": report.gaps,
        "open_gaps": open_gaps,
        "seconds": round(report.seconds, 3),
        "path": dg.MetadataValue.path(str(report.path)),
    }
    if report.unreadable:
        lines = "\n".join(f"- `{name}`: {reason}" for name, reason in report.unreadable.items())
        metadata["views_left_out"] = dg.MetadataValue.md(lines)
    return metadata | ({"symbol_data": build_table(rows)} if rows else {})
