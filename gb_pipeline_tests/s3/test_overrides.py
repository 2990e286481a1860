"""A correction in a bucket holds for every machine, as it does in a folder."""

from __future__ import annotations

from decimal import Decimal

from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import at, day, minutes
from gb_pipeline_tests.s3.conftest import Machine


def test_a_correction_of_one_machine_holds_for_the_fetches_of_another(machine: Machine) -> None:
    one, other = machine("a"), machine("b")
    frame = minutes("2024-01-02", 10)
    one.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame)
    one.override("sim", "BTC-USD", "1m", at("2024-01-02T00:05"), {"close": "105.5"}, "a bad tick")
    assert other.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame).unchanged == 10
    assert Lake(other).bars("BTC-USD", "1m")["close"][5] == Decimal("105.5")
    other.override("sim", "BTC-USD", "1m", at("2024-01-02T00:05"), None, "it was right")
    assert Lake(one).bars("BTC-USD", "1m")["close"][5] == Decimal("105.75")
