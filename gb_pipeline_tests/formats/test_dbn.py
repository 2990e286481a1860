"""Databento's files of bars, checked against what Databento's own decoder says of the same bytes."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import databento_dbn
import numpy as np
import pyarrow as pa
import pytest

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.dbn.records import RECORD, UNDEFINED_PRICE
from gb_pipeline.formats.importing import import_bars

SCHEMAS = {"1s": 32, "1m": 33, "1h": 34, "1d": 35}
REAL = {"EQUS.MINI": "QQQ", "GLBX.MDP3": "ESH21", "XNAS.ITCH": "NVDA"}


def decode(file: Path) -> list:
    """By Databento's library, one object a record."""
    decoder = databento_dbn.DBNDecoder()
    decoder.write(pa.input_stream(str(file), compression="zstd").read())
    return [record for record in decoder.decode() if isinstance(record, databento_dbn.OHLCVMsg)]


@pytest.mark.parametrize("dataset", REAL)
@pytest.mark.parametrize("length", SCHEMAS)
def test_bars_are_those_of_databentos_own_decoder(lake, market_data, dataset, length):
    file = market_data(f"dbn/{dataset}/test_data.ohlcv-{length}.dbn.zst")
    report = import_bars(lake, "dbn", file, source="databento")
    records = decode(file)
    assert report.total.received == report.total.stored == len(records) > 0
    bars = lake.bars(REAL[dataset], length, source="databento")
    for bar, record in zip(bars.rows(named=True), records, strict=True):
        assert bar["timestamp"] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=record.ts_event // 1000)
        for name in ("open", "high", "low", "close"):
            assert bar[name] == Decimal(getattr(record, name)).scaleb(-9)
        assert bar["volume"] == record.volume


def test_a_folder_is_imported_whole_and_files_of_other_schemas_are_named(lake, market_data):
    report = import_bars(lake, "dbn", market_data("dbn/GLBX.MDP3"), source="cme")
    assert [(s.symbol, str(s.resolution)) for s in report.series] == [
        ("ESH21", length) for length in ("1d", "1h", "1m", "1s")
    ]
    assert report.calendar == "CMES" and report.asset_class == "future"
    assert (
        report.skipped["test_data.trades.dbn.zst"] == "it holds trades, no bars; `gb import dbn-ticks` reads it"
        and len(report.skipped) == 10
    )
    with pytest.raises(FormatRefused, match=r"has files of EQUS.MINI, GLBX.MDP3, XNAS.ITCH"):
        import_bars(lake, "dbn", market_data("dbn"), source="all")


def write(
    file: Path, mappings: dict[str, list[tuple[date, date, int]]], rows: list[tuple], *, packed: bool = False
) -> None:
    """A file of minutes as Databento writes it: the header by its library, a record of 56 bytes for each bar."""
    header = databento_dbn.Metadata(
        dataset="GLBX.MDP3",
        schema=databento_dbn.Schema.OHLCV_1M,
        start=0,
        end=2**63,
        stype_in=databento_dbn.SType.RAW_SYMBOL,
        stype_out=databento_dbn.SType.INSTRUMENT_ID,
        symbols=list(mappings),
        partial=[],
        not_found=[],
        mappings=[
            SimpleNamespace(
                raw_symbol=name,
                intervals=[SimpleNamespace(start_date=a, end_date=b, symbol=str(number)) for a, b, number in parts],
            )
            for name, parts in mappings.items()
        ],
    ).encode()
    records = np.zeros(len(rows), dtype=RECORD)
    records["length"], records["rtype"] = RECORD.itemsize // 4, 33
    for number, (instrument, moment, close) in enumerate(rows):
        records[number]["instrument_id"] = instrument
        records[number]["ts_event"] = int(moment.timestamp()) * 10**9
        for name in ("open", "high", "low", "close"):
            records[number][name] = close
        records[number]["volume"] = 7
    body = bytes(header) + records.tobytes()
    with pa.output_stream(str(file), compression="zstd" if packed else None) as out:
        out.write(body)


DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]
NOON = [datetime(2024, 1, day, 12, tzinfo=UTC) for day in (2, 3)]


@pytest.mark.parametrize("packed", [True, False])
def test_a_number_means_another_symbol_on_another_day(lake, tmp_path, packed):
    mappings = {"ESH4": [(DAYS[0], DAYS[1], 1)], "ESM4": [(DAYS[0], DAYS[1], 2), (DAYS[1], DAYS[2], 1)]}
    rows = [(1, NOON[0], 4800 * 10**9), (2, NOON[0], 4850 * 10**9), (1, NOON[1], 4860 * 10**9)]
    write(tmp_path / "es.dbn", mappings, rows, packed=packed)
    report = import_bars(lake, "dbn", tmp_path, source="cme")
    assert [(s.symbol, s.counts.stored) for s in report.series] == [("ESH24", 1), ("ESM24", 2)]
    assert lake.bars("ESM24", "1m", source="cme")["close"].to_list() == [Decimal(4850), Decimal(4860)]


def test_an_undefined_price_and_a_ninth_decimal_are_quarantined_as_they_are(lake, tmp_path):
    rows = [(1, NOON[0], UNDEFINED_PRICE), (1, NOON[1], 123_456_789_123)]
    write(tmp_path / "es.dbn", {"ESH4": [(DAYS[0], DAYS[2], 1)]}, rows)
    (series,) = import_bars(lake, "dbn", tmp_path, source="cme").series
    assert series.counts.quarantined == 2 and series.reasons["too_precise"]
    assert "123.456789123" in " ".join(lake.quarantine()["row"].to_list())
    wide = import_bars(lake, "dbn", tmp_path, source="wide", precision="wide", start=DAYS[1])
    assert wide.total.stored == 1
    assert lake.bars("ESH24", "1m", source="wide")["close"].to_list() == [Decimal("123.456789123")]


DAMAGES = {
    "cut in a record": (lambda body: body[:-20], "it breaks off within a record"),
    "cut in the header": (lambda body: body[:50], "it breaks off in its header"),
    "another kind": (lambda body: body[:-55] + b"\x01" + body[-54:], "a record of kind 1, no bar"),
    "no DBN": (lambda _: b"not what it says", "it does not begin as a DBN file does"),
    "a huge header": (lambda body: body[:4] + b"\xff\xff\xff\xff" + body[8:], "it does not begin as a DBN file does"),
    "empty": (lambda _: b"", "it does not begin as a DBN file does"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_with_the_byte(lake, tmp_path, damage):
    file = tmp_path / "es.dbn"
    write(file, {"ESH4": [(DAYS[0], DAYS[2], 1)]}, [(1, moment, 4800 * 10**9) for moment in NOON])
    change, said = DAMAGES[damage]
    file.write_bytes(change(file.read_bytes()))
    try:
        report = import_bars(lake, "dbn", file, source="cme")
    except FormatRefused as error:
        assert re.search(rf"es.dbn, byte [0-9,]+ of what it unpacks to: {said}", error.what)
    else:
        # The record before is whole, and stored.
        assert said in str(report.errors) and report.total.stored == 1
