"""Trades, quotes and books on their way out: every settled row, both orders of events, every number exact or said."""

from __future__ import annotations

import gzip
import json
import subprocess
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.peers.environment import peers_python
from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, ExportRefused, NoDataInRange, UnknownSeries
from gb_pipeline.formats.streams.exporting import export_streams
from gb_pipeline.formats.streams.hftbacktest import EVENT, EXCH, LOCAL, correct_event_order
from gb_pipeline.formats.streams.importing import import_streams

HERE = Path(__file__).parent
HEAD = "exchange,symbol,timestamp,local_timestamp"
T0 = 1_704_067_200_000_000
DAY = 86_400_000_000


def write(folder: Path, kind: str, columns: str, rows: list[tuple[int, int, str]]) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"binance_{kind}_2024-01-01_BTCUSDT.csv.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        body = [f"binance,BTCUSDT,{T0 + exchange},{T0 + local},{rest}" for exchange, local, rest in rows]
        lines.write("\n".join([f"{HEAD},{columns}", *body, ""]))
    return file


def write_trades(folder: Path, rows: list[tuple[int, int, str]]) -> Path:
    return write(folder, "trades", "id,side,price,amount", rows)


def write_book(folder: Path, rows: list[tuple[int, int, str]]) -> Path:
    return write(folder, "incremental_book_L2", "is_snapshot,side,price,amount", rows)


BOOK = [
    (5, 10, "true,bid,100.1,1"), (5, 10, "true,bid,100.0,2"), (5, 10, "true,ask,100.3,1"), (5, 10, "true,ask,100.4,5"),
    (40, 41, "false,bid,100.2,3"), (38, 45, "false,ask,100.3,0"), (60, 70, "false,bid,100.2,0.5"),
]  # fmt: skip
TRADES = [(20, 23, "1,buy,100.3,0.25"), (30, 42, "2,sell,100.1,0.5"), (39, 43, "3,unknown,100.2,0.125")]


@pytest.fixture
def streams(lake, tmp_path) -> Lake:
    write_trades(tmp_path / "in", TRADES)
    write_book(tmp_path / "in", BOOK)
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    return lake


STREAM = ("t", "BTC-USDT")


def heard(events: np.ndarray) -> list[tuple]:
    own = events[(events["ev"] & LOCAL) != 0]
    return [(int(e["ev"]) & 0xFF, int(e["local_ts"]) // 1000 - T0, float(e["px"]), float(e["qty"])) for e in own]


def test_events_are_in_both_orders_and_a_book_is_cleared_before_it_is_laid(streams, tmp_path):
    report = export_streams(streams, "hftbacktest", [STREAM], tmp_path / "out")
    assert report.is_exact and report.files == 1 and report.streams[0].events == 10
    events = np.load(tmp_path / "out/btc-usdt_20240101.npz")["data"]
    assert events.dtype == EVENT
    assert heard(events) == [
        (3, 10, 100.0, 0), (4, 10, 100.1, 1), (4, 10, 100.0, 2), (3, 10, 100.4, 0), (4, 10, 100.3, 1), (4, 10, 100.4, 5),
        (2, 23, 100.3, 0.25), (1, 41, 100.2, 3), (2, 42, 100.1, 0.5), (2, 43, 100.2, 0.125), (1, 45, 100.3, 0), (1, 70, 100.2, 0.5),
    ]  # fmt: skip
    happened = events[(events["ev"] & EXCH) != 0]["exch_ts"]
    assert (np.diff(happened) >= 0).all() and len(happened) == 12
    # What came late stands twice: the level of 38 was heard behind the trade of 39 and the level of 40.
    assert len(events) > 12


TIMES = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)


@given(TIMES)
def test_corrected_events_are_the_same_ones_in_both_orders(times):
    events = np.zeros(len(times), dtype=EVENT)
    events["ev"], events["px"] = 1, np.arange(len(times))
    events["exch_ts"], events["local_ts"] = np.array(times, dtype=np.int64).reshape(-1, 2).T
    corrected = correct_event_order(events)
    for flag, name in ((EXCH, "exch_ts"), (LOCAL, "local_ts")):
        own = corrected[(corrected["ev"] & flag) != 0]
        assert sorted(own["px"]) == sorted(events["px"]) and (np.diff(own[name]) >= 0).all()
    in_order = (
        bool(len(events)) and (np.diff(events["exch_ts"][np.argsort(events["local_ts"], kind="stable")]) >= 0).all()
    )
    assert not in_order or len(corrected) == len(events)


ROWS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(-3, 9), st.integers(1, 10**8), st.integers(0, 10**6)),
    min_size=1,
    max_size=30,
)


@given(ROWS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_that_are_heard_are_the_rows_that_are_stored(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("round")
    ordered = sorted(rows, key=lambda row: row[0])
    trades, levels = [], []
    for number, (local, late, price, size) in enumerate(ordered):
        text = f"{Decimal(price).scaleb(-2)}"
        trades.append((local - late, local, f"{number},buy,{text},{Decimal(size + 1).scaleb(-3)}"))
        levels.append((local - late, local, f"false,ask,{text},{Decimal(size).scaleb(-3)}"))
    write_trades(folder / "in", trades)
    write_book(folder / "in", levels)
    lake = Lake.open(folder / "lake", create=True)
    import_streams(lake, "tardis", folder / "in", source="t")
    report = export_streams(lake, "hftbacktest", [STREAM], folder / "out")
    assert report.is_exact and "whole once every level" in str(report.streams[0].notes)
    events = np.concatenate([np.load(file)["data"] for file in sorted((folder / "out").iterdir())])
    own = events[(events["ev"] & LOCAL) != 0]
    behind = max(0, *(-late for _, late, *_ in rows), 0)
    assert (events["local_ts"] >= events["exch_ts"]).all()
    for kind, extra in ((2, 1), (1, 0)):
        some = own[(own["ev"] & 0xFF) == kind]
        assert [(int(e["local_ts"]) // 1000 - T0 - behind, float(e["px"]), float(e["qty"])) for e in some] == [
            (local, price / 100, (size + extra) / 1000) for local, _, price, size in ordered
        ]


@given(ROWS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_catalog_gives_back_every_trade_and_change_that_is_stored(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("catalog")
    ordered = sorted(rows, key=lambda row: row[0])
    trades, levels = [], []
    for number, (local, late, price, size) in enumerate(ordered):
        text = f"{Decimal(price).scaleb(-9)}"
        trades.append((local - late, local, f"{number},sell,{text},{Decimal(size + 1).scaleb(-12)}"))
        levels.append((local - late, local, f"false,bid,{text},{Decimal(size).scaleb(-12)}"))
    write_trades(folder / "in", trades)
    write_book(folder / "in", levels)
    lake = Lake.open(folder / "lake", create=True)
    import_streams(lake, "tardis", folder / "in", source="t")
    assert export_streams(lake, "nautilus-ticks", [STREAM], folder / "out").is_exact
    for name, extra in (("trade_tick", 1), ("order_book_delta", 0)):
        (file,) = (folder / "out/data" / name).rglob("*.parquet")
        written = [
            (
                row["ts_event"],
                row["ts_init"],
                *(int.from_bytes(row[c], "little", signed=True) for c in ("price", "size")),
            )
            for row in pq.read_table(file).to_pylist()
        ]
        assert written == [
            ((T0 + local - late) * 1000, (T0 + local) * 1000, price * 10**7, (size + extra) * 10**4)
            for local, late, price, size in ordered
        ]


def test_a_number_that_is_another_one_as_a_float_is_refused_unless_it_may_change(lake, tmp_path):
    write_trades(tmp_path / "in", [(1, 2, "1,buy,9007199254740993.25,1"), (3, 4, "2,buy,0.1,1")])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    with pytest.raises(ExportRefused, match=r"1 number would change, such as price 9007199254740993\.25 becomes"):
        export_streams(lake, "hftbacktest", [STREAM], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = export_streams(lake, "hftbacktest", [STREAM], tmp_path / "out", lossy=True)
    assert report.streams[0].changed == 1 and report.files == 1
    assert export_streams(lake, "nautilus-ticks", [STREAM], tmp_path / "n", dry_run=True).streams[0].left_out == {
        "numbers above Nautilus' largest": 1
    }


def test_each_day_is_a_file_and_a_range_is_part_of_it(lake, tmp_path):
    write_trades(tmp_path / "in", [(n * DAY // 2, n * DAY // 2 + 1, f"{n},buy,1,1") for n in range(5)])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    days = export_streams(lake, "hftbacktest", [STREAM], tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"btc-usdt_2024010{n}.npz" for n in (1, 2, 3)]
    assert days.streams[0].files == 3
    part = export_streams(lake, "hftbacktest", [STREAM], tmp_path / "part", start="2024-01-01T12:00Z", end="2024-01-02")
    assert part.streams[0].rows["trades"] == 1
    with pytest.raises(NoDataInRange):
        export_streams(lake, "hftbacktest", [STREAM], tmp_path / "no", start="2024-02-01")
    with pytest.raises(UnknownSeries, match="t:ETH-USDT has no trades"):
        export_streams(lake, "hftbacktest", [("t", "ETH-USDT")], tmp_path / "no")
    with pytest.raises(ConfigError, match="is not empty"):
        export_streams(lake, "hftbacktest", [STREAM], tmp_path / "out")


def test_a_catalog_holds_what_is_stored_bit_by_bit(streams, tmp_path):
    report = export_streams(streams, "nautilus-ticks", [STREAM], tmp_path / "out", market="binance")
    assert report.is_exact
    (trades,) = (tmp_path / "out/data/trade_tick/BTC-USDT.BINANCE").iterdir()
    assert trades.name == "2024-01-01T00-00-00-000023000Z_2024-01-01T00-00-00-000043000Z.parquet"
    table = pq.read_table(trades)
    assert table.schema.metadata[b"price_precision"] == b"1" and table.schema.metadata[b"size_precision"] == b"3"
    prices = [Decimal(int.from_bytes(value, "little", signed=True)).scaleb(-16) for value in table["price"].to_pylist()]
    assert prices == [Decimal("100.3"), Decimal("100.1"), Decimal("100.2")]
    assert table["aggressor_side"].to_pylist() == [1, 2, 0] and table["trade_id"].to_pylist() == ["1", "2", "3"]
    (book,) = (tmp_path / "out/data/order_book_delta/BTC-USDT.BINANCE").iterdir()
    rows = pl.DataFrame(pq.read_table(book).drop_columns(["price", "size"]))
    assert rows["action"].to_list() == [4, 1, 1, 1, 1, 2, 3, 2]
    assert rows["flags"].to_list() == [0x20, 0x20, 0x20, 0x20, 0xA0, 0x80, 0x80, 0x80]
    with pytest.raises(ConfigError, match="not empty, and files of this format belong together"):
        export_streams(streams, "nautilus-ticks", [STREAM], tmp_path / "out", force=True)


def test_rows_that_were_heard_after_midnight_stand_in_the_order_of_reception(lake, tmp_path):
    rows = [
        (DAY - 5, DAY - 4, "1,buy,1,1"),
        (DAY + 1, DAY + 2, "3,buy,1,1"),
        (DAY - 1, DAY + 3, "2,buy,1,1"),
        (DAY + 9, DAY + 9, "4,buy,1,1"),
    ]
    write_trades(tmp_path / "in", rows)
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    export_streams(lake, "nautilus-ticks", [STREAM], tmp_path / "out")
    (file,) = (tmp_path / "out/data/trade_tick").rglob("*.parquet")
    assert pq.read_table(file)["trade_id"].to_pylist() == ["1", "3", "2", "4"]


def test_quotes_need_both_sides_in_a_catalog(lake, tmp_path):
    write(tmp_path / "in", "quotes", "ask_amount,ask_price,bid_price,bid_amount", [(1, 2, "1,2,1,1"), (3, 4, ",,1,1")])
    import_streams(lake, "tardis", tmp_path / "in", source="t")
    with pytest.raises(ExportRefused, match=r"1 row would be left out \(quotes of one side only\)"):
        export_streams(lake, "nautilus-ticks", [STREAM], tmp_path / "out")
    assert export_streams(lake, "nautilus-ticks", [STREAM], tmp_path / "out", lossy=True).streams[0].events == 1


def judge(requirements: Path, *arguments: object) -> dict:
    command = [str(peers_python(requirements)), str(HERE / "read_streams_by_tools.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_hftbacktest_makes_the_same_events_of_the_same_files_and_plays_ours(streams, tmp_path):
    export_streams(streams, "hftbacktest", [STREAM], tmp_path / "out")
    files = sorted((tmp_path / "in").iterdir(), reverse=True)
    said = judge(HERE / "hftbacktest.txt", "hftbacktest", tmp_path / "out/btc-usdt_20240101.npz", *files)
    assert said["same"], said
    assert said["best"] == [100.2, 100.4] and said["trades"] == 3


@pytest.mark.long
def test_nautilus_reads_trades_quotes_and_the_book(streams, tmp_path):
    quotes = write(tmp_path / "q", "quotes", "ask_amount,ask_price,bid_price,bid_amount", [(1, 2, "1.5,100.25,100,7")])
    import_streams(streams, "tardis", quotes, source="q")
    export_streams(streams, "nautilus-ticks", [STREAM, ("q", "BTC-USDT")], tmp_path / "out")
    said = judge(HERE.parent / "tools.txt", "nautilus", tmp_path / "out")
    ns = T0 * 1000
    assert said["trades"] == [
        ["100.3", "0.250", "BUYER", "1", ns + 20_000, ns + 23_000], ["100.1", "0.500", "SELLER", "2", ns + 30_000, ns + 42_000],
        ["100.2", "0.125", "NO_AGGRESSOR", "3", ns + 39_000, ns + 43_000],
    ]  # fmt: skip
    assert said["quotes"] == [["100.00", "100.25", "7.0", "1.5", ns + 1000]]
    assert said["bids"] == [["100.2", 0.5], ["100.1", 1.0], ["100.0", 2.0]] and said["asks"] == [["100.4", 5.0]]
