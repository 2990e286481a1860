"""Pieces of a question for bars of a lake in a bucket."""

from __future__ import annotations

import pickle

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import Lake
from gb_pipeline.config.bucket import VARIABLES
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store


def test_they_hold_no_credential_and_read_with_those_of_where_they_are_read(
    server: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("a")
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-01", 2), minutes("2024-01-01", 2880))
    lake = Lake(store)
    packed = pickle.dumps(lake.pieces("BTC-USD", "1m", most_rows=1000))
    assert server.secret.encode() not in packed
    assert server.key.encode() not in packed

    for option, value in server.access.items():
        monkeypatch.setenv(VARIABLES[option][0], value)
    pieces = pickle.loads(packed)
    assert len(pieces) == 2
    assert_frame_equal(pl.concat([piece.read() for piece in pieces]), lake.bars("BTC-USD", "1m"))
