"""Incidents of a lake in a bucket: they lie beside the local gb.yaml, and other machines see them through the catalog."""

from __future__ import annotations

from datetime import date

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.incidents import Incident
from gb_pipeline.config.project_incidents import Incidents
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine

OUTAGE = Incident(1, date(2024, 1, 2), date(2024, 1, 3), "vendor_outage", "its feed stood still", "its status page")


def test_another_machine_sees_what_the_catalog_remembers(machine: Machine) -> None:
    writer, reader = machine("a"), machine("b")
    writer.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 1400))
    assert Lake(reader).gaps()["reason"].to_list() == ["unknown"]
    writer.incidents = lambda: Incidents((OUTAGE,))
    refresh_catalog(writer)
    for gaps in (Lake(reader).gaps(), Lake(reader).sql("select * from gaps")):
        [gap] = gaps.to_dicts()
        assert (gap["missing"], gap["incident_kind"], gap["incident_reason"]) == (40, OUTAGE.kind, OUTAGE.reason)
