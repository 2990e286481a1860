"""Instruments in a bucket are known to every machine, as in a folder."""

from __future__ import annotations

import polars as pl
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.s3.conftest import Machine

FIGI = "BBG000MM2P62"


def test_what_one_machine_tells_another_one_reads_and_cannot_contradict(machine: Machine) -> None:
    one, other = machine("a"), machine("b")
    frame = pl.DataFrame(
        {"symbol": ["FB"], "valid_from": ["2012-05-18"], "name": ["Facebook"], "composite_figi": [FIGI]}
    )
    told = one.write_instruments(frame).instruments
    assert Lake(other).symbol("FB", "2020-01-02").instrument == told[0]
    assert other.write_instruments(frame).version is None
    with pytest.raises(LakeError, match=r"two instruments of own .*Facebook"):
        other.write_instruments(pl.DataFrame({"symbol": ["FB"], "valid_from": ["2020-01-02"]}))
    ended = frame.with_columns(valid_until=pl.lit("2022-06-09"))
    other.write_instruments(ended)
    assert str(Lake(one).symbol("FB", "2020-01-02").valid_until) == "2022-06-09"
