"""What one machine removes from a bucket is removed for every machine, and nobody brings it back unknowingly."""

from __future__ import annotations

from datetime import date

from gb_pipeline.lake.verification import verify
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine


def test_a_removal_of_one_machine_holds_for_another_and_can_be_purged(machine: Machine) -> None:
    one, other = machine("a"), machine("b")
    for text in ("2024-01-02", "2024-01-03"):
        one.write_bars("sim", "BTC-USD", "1m", day(text), minutes(text, 10))
    before = one.tables.newest("bars_1m").clock
    other.delete("sim", "BTC-USD", start=date(2024, 1, 3), reason="a test")
    assert Lake(one).bars("BTC-USD", "1m").height == 10
    assert Lake(one).coverage("sim", "BTC-USD")["status"].to_list() == ["partial", "removed"]
    one.rename("sim", "BTC-USD", "XBT-USD", reason="a new ticker")
    assert Lake(other).bars("XBT-USD", "1m").height == 10
    assert Lake(other).removals()["action"].to_list() == ["deleted", "renamed"]
    other.delete("sim", "BTC-USD", reason="licence ended", purge=True)
    versions = one.tables.newest("bars_1m").files["symbol"].unique().to_list()
    assert versions == ["XBT-USD"]
    assert one.tables.newest("bars_1m").clock > before
    assert Lake(one).fingerprint(verify=True).is_proved
    assert verify(one).ok
