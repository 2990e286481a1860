"""Tardis' files: columns as documented, numbers as text, books begun by their snapshots and by nothing else."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams import text_files
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.storage import reading

HEAD = "exchange,symbol,timestamp,local_timestamp"
HEADERS = {
    "trades": f"{HEAD},id,side,price,amount",
    "incremental_book_L2": f"{HEAD},is_snapshot,side,price,amount",
    "quotes": f"{HEAD},ask_amount,ask_price,bid_price,bid_amount",
    "book_snapshot_2": f"{HEAD},"
    + ",".join(f"{side}[{n}].{what}" for n in range(2) for side in ("asks", "bids") for what in ("price", "amount")),
}
T0 = 1_704_067_200_000_000


def write(folder: Path, kind: str, rows: list[str], *, day: str = "2024-01-01", symbol: str = "BTCUSDT") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"binance-futures_{kind}_{day}_{symbol}.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.write("\n".join([HEADERS[kind], *rows, ""]))
    return file


def row(local: int, rest: str, symbol: str = "BTCUSDT") -> str:
    return f"binance-futures,{symbol},{T0 + local - 3},{T0 + local},{rest}"


def test_trades_have_both_times_and_no_side_where_there_is_none(lake, stored, tmp_path):
    write(tmp_path / "in", "trades", [row(10, "7,buy,42000.10,0.001"), row(10, ",unknown,42000.2,3")])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    first, second = stored("trades").to_dicts()
    assert (first["exchange_time"], first["receive_time"]) == ((T0 + 7) * 1000, (T0 + 10) * 1000)
    assert (first["trade_id"], first["side"], first["price"]) == ("7", "buy", Decimal("42000.10"))
    assert (second["trade_id"], second["side"], second["ordinal"]) == (None, None, 1)


def test_quotes_may_lack_a_side_of_the_book(lake, stored, tmp_path):
    write(tmp_path / "in", "quotes", [row(1, "2,42000.2,42000.1,1"), row(2, ",,42000.1,1"), row(3, "2,42000.2,,")])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    rows = stored("quotes")
    assert rows["ask_price"].to_list() == [Decimal("42000.2"), None, Decimal("42000.2")]
    assert rows["bid_size"].to_list() == [1, 1, None]


def test_a_snapshot_is_the_first_moment_of_a_run_and_the_rest_of_it_are_updates(lake, stored, tmp_path):
    lines = [
        row(1, "true,bid,10,1"), row(1, "true,ask,11,1"), row(2, "true,ask,12,1"), row(3, "false,bid,10,0"),
        row(4, "true,bid,9,5"), row(5, "false,bid,9,6"),
    ]  # fmt: skip
    write(tmp_path / "in", "incremental_book_L2", lines)
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    snapshots, updates = stored("book_snapshots"), stored("book_updates")
    assert [(r["receive_time"] // 1000 - T0, r["side"], r["price"]) for r in snapshots.to_dicts()] == [
        (1, "bid", 10), (1, "ask", 11), (4, "bid", 9),
    ]  # fmt: skip
    assert snapshots["reason"].unique().to_list() == ["subscribed"]
    assert [(r["receive_time"] // 1000 - T0, r["price"], r["size"]) for r in updates.to_dicts()] == [
        (2, 12, 1), (3, 10, 0), (5, 9, 6),
    ]  # fmt: skip


RUNS = st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.sampled_from(["BTCUSDT", "ETHUSDT"])), max_size=30)


@given(steps=RUNS, cut=st.integers(1, 6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_run_is_the_same_wherever_the_parts_of_a_file_are_cut(tmp_path_factory, monkeypatch, steps, cut):
    folder, local, lines, wanted = tmp_path_factory.mktemp("runs"), 1, [], []
    running: dict[str, int | None] = {}
    for is_snapshot, step, symbol in steps:
        local += step
        if not is_snapshot:
            running[symbol] = None
        elif running.get(symbol) is None:
            running[symbol] = local
        wanted.append(is_snapshot and running[symbol] == local)
        lines.append(row(local, f"{str(is_snapshot).lower()},bid,10,{len(lines) + 1}", symbol))
    write(folder / "in", "incremental_book_L2", lines)
    monkeypatch.setattr(text_files, "_BLOCK", 150 * cut)
    lake = Lake.open(folder / "lake", create=True)
    report = import_streams(lake, "tardis", folder / "in", source="t")
    assert report.total.stored == len(lines)
    tables = lake.store.tables
    snapshots = reading.read(
        lake.store.storage, tables["book_snapshots"].dataset, tables.newest("book_snapshots").files
    )
    assert sorted(map(int, snapshots["size"])) == [number for number, begins in enumerate(wanted, 1) if begins]
    updates = reading.read(lake.store.storage, tables["book_updates"].dataset, tables.newest("book_updates").files)
    # Rows of one moment keep the order of the file, whichever part they were in.
    columns = ["symbol", "receive_time", "ordinal", "size"]
    everything = pl.concat([snapshots.select(columns), updates.select(columns)])
    for _, own in everything.group_by("symbol"):
        assert own.sort("receive_time", "ordinal")["size"].is_sorted()
        assert own.select("receive_time", "ordinal").is_unique().all()


def test_depth_snapshots_are_kept_level_by_level_and_absent_levels_are_none(lake, stored, tmp_path):
    write(tmp_path / "in", "book_snapshot_2", [row(1, "11,1,10,2,12,3,9,4"), row(2, "11,1,10,2,,,,")])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    levels = [
        (r["receive_time"] // 1000 - T0, r["side"], int(r["price"]), int(r["size"]))
        for r in stored("book_snapshots").to_dicts()
    ]
    assert levels == [
        (1, "bid", 10, 2), (1, "bid", 9, 4), (1, "ask", 11, 1), (1, "ask", 12, 3), (2, "bid", 10, 2), (2, "ask", 11, 1),
    ]  # fmt: skip


def test_short_snapshots_do_not_cut_a_whole_book_off(lake, tmp_path):
    write(tmp_path / "in", "incremental_book_L2", [row(1, "true,bid,10,1")])
    short = write(tmp_path / "in", "book_snapshot_2", [row(1, "11,1,10,2,12,3,9,4")])
    report = import_streams(lake, "tardis", tmp_path / "in", source="t")
    assert report.total.stored == 1 and "whole book" in report.skipped[short.name]


def test_another_exchange_and_names_that_cannot_be_told_apart_are_refused(lake, tmp_path):
    folder = tmp_path / "in"
    write(folder, "trades", [row(1, "1,buy,1,1")])
    other = write(folder, "trades", [row(2, "1,buy,1,1").replace("binance-futures", "deribit")], day="2024-01-02")
    report = import_streams(lake, "tardis", folder, source="t")
    assert "another exchange, binance-futures and deribit" in report.errors[other.name]
    twice = write(tmp_path / "twice", "trades", [row(1, "1,buy,1,1"), row(2, "1,buy,1,1", "BTC-USDT")])
    report = import_streams(lake, "tardis", twice, source="u")
    assert "would both be BTC-USDT" in report.errors[twice.name]
    report = import_streams(lake, "tardis", twice, source="u", names={"BTC-USDT": "BTC-USDT-PERP"})
    assert report.total.stored == 2


def test_other_csv_files_are_named_as_left_out(lake, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/funding.csv").write_text(
        "exchange,symbol,timestamp,local_timestamp,funding_rate\n", encoding="utf-8"
    )
    with pytest.raises(FormatRefused, match=r"funding.csv: its header is none of Tardis'"):
        import_streams(lake, "tardis", tmp_path / "in", source="t")
