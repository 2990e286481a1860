"""Names that nothing can have are answered like any name that nothing has: by what resembles it, and never by another series."""

from __future__ import annotations

from typing import Any

import pytest

from gb_pipeline import ConfigError, GbError, InvalidResolution, Lake, UnknownSeries
from gb_pipeline_tests.hostile_names import SOURCES, SYMBOLS


@pytest.fixture
def filled(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1", "2"])
    write("other", "ETH-USD", "2024-01-02", ["1", "2"])
    return lake


def entries(lake: Lake, symbol: Any, source: Any) -> list[Any]:
    """Every call by which a name can come in."""
    return [
        lambda: lake.bars(symbol, "1m", source=source),
        lambda: lake.bars(["BTC-USD", symbol], "1m", source=source),
        lambda: lake.scan_bars(symbol, "1m", source=source),
        lambda: lake.arrow(symbol, "1m", source=source),
        lambda: lake.bars(symbol, "1m", source=source, adjustment="raw"),
        lambda: lake.bars(symbol, "1m", source=source, as_of="2099-01-01"),
        lambda: lake.bars(symbol, "1d", source=source),
        lambda: lake.coverage(source, symbol),
        lambda: lake.gaps(source, symbol, "1m"),
        lambda: lake.restatements(source, symbol),
        lambda: lake.withdrawn(source, symbol),
        lambda: lake.quarantine(source, symbol),
        lambda: lake.corporate_actions(symbol, source=source),
    ]


@pytest.mark.parametrize("number", range(len(SYMBOLS)))
@pytest.mark.parametrize("source", ["sim", None])
def test_a_symbol_that_nothing_can_have_is_unknown(filled, number, source):
    for call in entries(filled, SYMBOLS[number], source):
        with pytest.raises(UnknownSeries) as caught:
            call()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_a_source_that_nothing_can_have_is_unknown(filled, number):
    for call in entries(filled, "BTC-USD", SOURCES[number]):
        with pytest.raises(UnknownSeries) as caught:
            call()
        assert len(str(caught.value)) < 400
    assert filled.symbols(SOURCES[number]).is_empty()


@pytest.mark.parametrize("name", [5, b"BTC-USD", ["BTC-USD"]])
def test_what_is_no_text_is_no_source(filled, name):
    for call in entries(filled, "BTC-USD", name):
        with pytest.raises(ConfigError, match="not a name of a source"):
            call()


@pytest.mark.parametrize("name", [5, [5], [None], [b"BTC-USD"]])
def test_what_is_no_text_is_no_symbol(filled, name):
    for call in entries(filled, name, "sim"):
        with pytest.raises(GbError):
            call()


def test_a_resolution_is_one_of_those_that_there_are(filled):
    for text in ("1m' or 1=1", "7m", "", "../1m"):
        with pytest.raises(InvalidResolution):
            filled.coverage("sim", "BTC-USD", text)
