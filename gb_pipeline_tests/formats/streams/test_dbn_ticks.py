"""Databento's trades, quotes and books, checked against what Databento's own decoder says of the same bytes."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import databento_dbn
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import FormatRefused, GapInWindow
from gb_pipeline.formats.dbn import records as dbn_records
from gb_pipeline.formats.dbn.records import UNDEFINED_PRICE
from gb_pipeline.formats.dbn.ticks import RECORDS
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.storage import reading

REAL = {"EQUS.MINI": "QQQ", "GLBX.MDP3": "ESH21", "XNAS.ITCH": "NVDA"}
SIDES = {"B": "buy", "A": "sell", "N": None}


def decode(file: Path) -> list[Any]:
    """By Databento's library, one object a record."""
    decoder = databento_dbn.DBNDecoder()
    decoder.write(pa.input_stream(str(file), compression="zstd").read())
    kinds = (databento_dbn.TradeMsg, databento_dbn.MBP1Msg, databento_dbn.MBP10Msg)
    return [record for record in decoder.decode() if isinstance(record, kinds)]


def price(number: int) -> Decimal | None:
    return None if number == UNDEFINED_PRICE else Decimal(number).scaleb(-9)


@pytest.mark.parametrize("dataset", REAL)
@pytest.mark.parametrize("schema", ["trades", "tbbo", "mbp-1"])
def test_rows_are_those_of_databentos_own_decoder(lake, stored, market_data, dataset, schema):
    file = market_data(f"dbn/{dataset}/test_data.{schema}.dbn.zst")
    import_streams(lake, "dbn-ticks", file, source="databento")
    records = decode(file)
    assert records
    trades = [record for record in records if schema != "mbp-1" or record.action == "T"]
    assert [
        (r["symbol"], r["exchange_time"], r["receive_time"], r["side"], r["price"], r["size"], r["sequence"])
        for r in stored("trades").sort("sequence", maintain_order=True).to_dicts()
    ] == sorted(
        (
            (REAL[dataset], r.ts_event, r.ts_recv, SIDES[str(r.side)], price(r.price), r.size, r.sequence)
            for r in trades
        ),
        key=lambda row: row[-1],
    )  # fmt: skip
    quotes = stored("quotes").to_dicts()
    assert len(quotes) == (0 if schema == "trades" else len(records))
    for quote, record in zip(quotes, sorted(records, key=lambda r: r.ts_recv), strict=bool(quotes)):
        level = record.levels[0]
        assert quote["bid_price"] == price(level.bid_px) and quote["ask_price"] == price(level.ask_px)
        assert quote["bid_size"] == (level.bid_sz if quote["bid_price"] is not None else None)


def book_after(rows: list[dict], moment: tuple[int, int]) -> dict[tuple[str, Decimal], Decimal]:
    book: dict[tuple[str, Decimal], Decimal] = {}
    for row in rows:
        if (row["receive_time"], row["ordinal"]) > moment:
            break
        if row["size"]:
            book[row["side"], row["price"]] = row["size"]
        else:
            del book[row["side"], row["price"]]
    return book


@pytest.mark.parametrize("dataset", ["GLBX.MDP3", "XNAS.ITCH"])
def test_the_book_after_every_record_is_the_records_own(lake, stored, market_data, dataset):
    file = market_data(f"dbn/{dataset}/test_data.mbp-10.dbn.zst")
    import_streams(lake, "dbn-ticks", file, source="databento")
    rows = sorted(
        [*stored("book_snapshots").to_dicts(), *stored("book_updates").to_dicts()],
        key=lambda row: (row["receive_time"], row["ordinal"]),
    )
    records = decode(file)
    assert len(records) == 4
    for record in records:
        wanted = {
            (side, price(getattr(level, f"{side}_px"))): getattr(level, f"{side}_sz")
            for level in record.levels
            for side in ("bid", "ask")
            if getattr(level, f"{side}_px") != UNDEFINED_PRICE and getattr(level, f"{side}_sz")
        }
        assert book_after(rows, (record.ts_recv, 2**31)) == wanted


def write(file: Path, schema: str, mappings: dict[str, tuple[date, date, int]], rows: list[dict[str, Any]]) -> None:
    """A file as Databento writes it: the header by its library."""
    header = databento_dbn.Metadata(
        dataset="GLBX.MDP3", schema=databento_dbn.Schema.from_str(schema), start=0, end=2**63,
        stype_in=databento_dbn.SType.RAW_SYMBOL, stype_out=databento_dbn.SType.INSTRUMENT_ID, symbols=list(mappings),
        partial=[], not_found=[],
        mappings=[
            SimpleNamespace(raw_symbol=name, intervals=[SimpleNamespace(start_date=a, end_date=b, symbol=str(number))])
            for name, (a, b, number) in mappings.items()
        ],
    ).encode()  # fmt: skip
    dtype = RECORDS[schema]
    records = np.zeros(len(rows), dtype=dtype)
    records["length"], records["rtype"] = dtype.itemsize // 4, {"trades": 0, "mbp-1": 1, "mbp-10": 10}[schema]
    if dtype["levels"].shape[0]:
        for side in ("bid", "ask"):
            records["levels"][f"{side}_px"] = UNDEFINED_PRICE
    for number, row in enumerate(rows):
        for name, value in row.items():
            if name == "levels":
                for place, (bid, bid_size, ask, ask_size) in enumerate(value):
                    level = records[number]["levels"][place]
                    level["bid_px"], level["bid_sz"], level["ask_px"], level["ask_sz"] = bid, bid_size, ask, ask_size
            else:
                records[number][name] = value
    file.write_bytes(bytes(header) + records.tobytes())


T0 = 1_704_196_800 * 10**9
DAYS = (date(2024, 1, 2), date(2024, 1, 4))
ES = {"ESH4": (*DAYS, 1), "ESM4": (*DAYS, 2)}


@st.composite
def books(draw) -> list[dict[str, Any]]:
    """Records of two instruments whose best ten levels come, change and go; several share a moment."""
    rows, moment = [], T0
    for _ in range(draw(st.integers(1, 12))):
        moment += draw(st.integers(0, 1))
        bids = draw(st.lists(st.integers(1, 6), max_size=3, unique=True))
        asks = draw(st.lists(st.integers(7, 12), max_size=3, unique=True))
        depth = max(len(bids), len(asks))
        levels = []
        for place in range(depth):
            bid = (bids[place] * 10**9, draw(st.integers(1, 3))) if place < len(bids) else (UNDEFINED_PRICE, 0)
            ask = (asks[place] * 10**9, draw(st.integers(1, 3))) if place < len(asks) else (UNDEFINED_PRICE, 0)
            levels.append((*bid, *ask))
        rows.append(
            {"instrument_id": draw(st.integers(1, 2)), "ts_event": moment, "ts_recv": moment, "action": b"M", "side": b"N",
             "price": UNDEFINED_PRICE, "sequence": len(rows), "levels": levels}
        )  # fmt: skip
    return rows


@given(rows=books(), cut=st.integers(1, 4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changes_of_any_books_add_up_to_each_of_them_wherever_parts_are_cut(tmp_path_factory, monkeypatch, rows, cut):
    folder = tmp_path_factory.mktemp("books")
    write(folder / "es.dbn", "mbp-10", ES, rows)
    monkeypatch.setattr(dbn_records, "_RECORDS", cut)
    lake = Lake.open(folder / "lake", create=True)
    report = import_streams(lake, "dbn-ticks", folder / "es.dbn", source="cme")
    assert not report.errors and report.total.received == report.total.stored
    tables = lake.store.tables
    told: dict[str, list[dict]] = defaultdict(list)
    for name in ("book_snapshots", "book_updates"):
        for row in reading.read(lake.store.storage, tables[name].dataset, tables.newest(name).files).to_dicts():
            told[row["symbol"]].append(row)
    for number, symbol in ((1, "ESH24"), (2, "ESM24")):
        own = [row for row in rows if row["instrument_id"] == number]
        changes = sorted(told[symbol], key=lambda row: (row["receive_time"], row["ordinal"]))
        for record in own:
            through = [row for row in changes if row["sequence"] <= record["sequence"]]
            wanted = {}
            for bid, bid_size, ask, ask_size in record["levels"]:
                if bid_size:
                    wanted["bid", price(bid)] = bid_size
                if ask_size:
                    wanted["ask", price(ask)] = ask_size
            assert book_after(through, (2**62, 0)) == wanted


def test_a_book_is_read_whole_where_its_first_changes_share_its_nanosecond(lake, tmp_path):
    rows = [
        {"instrument_id": 1, "ts_event": T0 + n // 2, "ts_recv": T0 + n // 2, "action": b"M", "side": b"N",
         "price": UNDEFINED_PRICE, "sequence": n, "levels": [(100 * 10**9, 1 + n, (101 + n) * 10**9, 7)]}
        for n in range(3)
    ]  # fmt: skip
    write(tmp_path / "es.dbn", "mbp-10", ES, rows)
    import_streams(lake, "dbn-ticks", tmp_path / "es.dbn", source="cme")
    # No number of the file proves that nothing is missing.
    with pytest.raises(GapInWindow):
        lake.book("ESH24", at=T0, source="cme")
    book = lake.book("ESH24", at=T0, source="cme", across_holes=True)
    assert book.select("side", "price", "size").rows() == [("bid", 100, 2), ("ask", 102, 7)]


def test_nine_decimals_stand_in_the_wide_table_only_where_eight_do_not_hold_them(lake, stored, tmp_path):
    rows = [
        {
            "instrument_id": 1,
            "ts_event": T0 + n,
            "ts_recv": T0 + n,
            "action": b"T",
            "side": b"B",
            "size": 1,
            "price": value,
        }
        for n, value in enumerate([4_800_250_000_000, 123_456_789_123, UNDEFINED_PRICE])
    ]
    write(tmp_path / "es.dbn", "trades", ES, rows)
    (stream,) = import_streams(lake, "dbn-ticks", tmp_path / "es.dbn", source="cme").streams
    assert (stream.counts.stored, stream.wide, stream.reasons) == (2, 1, {"missing_value": 1})
    assert stored("trades")["price"].to_list() == [Decimal("4800.25"), Decimal("123.456789123")]


def test_a_future_may_cost_less_than_nothing(lake, stored, tmp_path):
    row = {
        "instrument_id": 1,
        "ts_event": T0,
        "ts_recv": T0,
        "action": b"T",
        "side": b"A",
        "size": 1,
        "price": -37 * 10**9,
    }
    write(tmp_path / "cl.dbn", "trades", {"CLK4": (*DAYS, 1)}, [row])
    import_streams(lake, "dbn-ticks", tmp_path / "cl.dbn", source="cme")
    assert stored("trades")["price"].to_list() == [-37]


def test_a_record_that_belongs_to_no_symbol_is_kept_in_quarantine(lake, tmp_path):
    row = {"ts_event": T0, "ts_recv": T0, "action": b"T", "side": b"A", "size": 1, "price": 10**9}
    spread = {"UD:1V: VT 0726": (*DAYS, 3), **ES}
    write(tmp_path / "es.dbn", "trades", spread, [row | {"instrument_id": number} for number in (1, 3, 9)])
    report = import_streams(lake, "dbn-ticks", tmp_path / "es.dbn", source="cme")
    assert (report.total.stored, report.total.quarantined) == (1, 1)
    assert lake.quarantine()["reasons"].to_list() == [["unnamed_line"]]
    assert '"instrument":"9"' in lake.quarantine()["row"][0]
    assert list(report.skipped) == ["es.dbn UD:1V: VT 0726"]


def test_single_orders_are_refused_and_of_schemas_that_tell_the_same_one_is_taken(lake, market_data):
    with pytest.raises(FormatRefused, match="it holds mbo, single orders: a lake keeps levels; download mbp-10"):
        import_streams(lake, "dbn-ticks", market_data("dbn/GLBX.MDP3/test_data.mbo.dbn.zst"), source="cme")
    report = import_streams(lake, "dbn-ticks", market_data("dbn/GLBX.MDP3"), source="cme")
    assert [stream.table for stream in report.streams] == ["book_snapshots", "book_updates"]
    assert report.skipped["test_data.mbp-1.dbn.zst"].startswith("the trades are in mbp-10 as well")
    assert report.skipped["test_data.ohlcv-1m.dbn.zst"] == "it holds bars: `gb import dbn` reads them"
