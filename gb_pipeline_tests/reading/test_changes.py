"""The change feed: which bars moved, and only files that may hold them are opened."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from gb_pipeline import ConfigError, UnknownSeries
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules

T1, T2, T3 = (datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3))


@pytest.fixture
def filled(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 4, now=T1)
    write("sim", "BTC-USD", "2024-01-02", ["1", "2", "1"], now=T2)
    write("sim", "BTC-USD", "2024-01-02", ["1", "2", "1", "1"], now=T3)
    return lake


def test_each_kind_of_change_is_told_with_old_and_new(filled):
    found = filled.changes(T1, "sim", "BTC-USD", "1m")
    assert found.select("kind", "old_close", "new_close", "known_at").rows() == [
        ("restated", Decimal(1), Decimal(2), T2),
        ("withdrawn", Decimal(1), Decimal(1), T2),
        ("returned", Decimal(1), Decimal(1), T3),
    ]
    first = filled.changes(None, until=T1)
    assert first.select("kind", "old_close", "new_close").unique().rows() == [("added", None, Decimal(1))]


def test_a_version_stands_for_its_moment(filled, write):
    assert filled.changes(0, resolution="1m").equals(filled.changes(T1))
    assert filled.changes(1, resolution="1m", until=1).is_empty()
    with pytest.raises(ConfigError, match="name one from 0 to 2"):
        filled.changes(3, resolution="1m")
    with pytest.raises(ConfigError, match="versions are counted by table"):
        filled.changes(0)
    write("sim", "ETH-USD", "2024-01-02", ["1"], rules=BarRules(precision=Precision.WIDE))
    with pytest.raises(ConfigError, match="means no moment"):
        filled.changes(0, resolution="1m")


def test_only_files_with_versions_of_these_moments_are_opened(filled, write):
    kept = set(filled.store.storage.root.glob("lake/bars_1m/**/*.parquet"))
    write("sim", "BTC-USD", "2024-05-02", ["7"], now=datetime(2024, 6, 1, tzinfo=UTC))
    for file in kept:
        file.write_bytes(b"gone")
    assert filled.changes(T3)["new_close"].to_list() == [Decimal(7)]


def test_unknown_names_are_refused_and_an_empty_lake_has_no_changes(filled, lake, tmp_path):
    with pytest.raises(UnknownSeries, match="did you mean BTC-USD"):
        filled.changes(None, symbols="btcusd")
    assert type(lake).open(tmp_path / "empty", create=True).changes(None).is_empty()
