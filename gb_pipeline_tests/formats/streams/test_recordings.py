"""Real recordings of cryptofeed and hftbacktest, counted against their own lines; the decoders of live streams read them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams import recordings
from gb_pipeline.formats.streams.exporting import export_streams
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.market.recorded_messages import Direction, read_recording
from gb_pipeline_tests.formats.streams.test_exporting import HERE, judge

FUTURES = "order-book/hftbacktest-binance-usdm-btcusdt_20240718.gz"


def counted(file: Path) -> Counter[str]:
    """Trades, quotes and levels of changes in the lines of a recording of Binance; without changes of before a whole book."""
    found: Counter[str] = Counter()
    books: dict[str, tuple[int, int]] = {}
    for beside in file.parent.glob(f"{file.name.partition('.')[0]}.http.*"):
        for answer in read_recording(beside):
            symbol = parse_qs(urlsplit(answer.connection).query)["symbol"][0]
            books[symbol] = answer.receive_time, json.loads(answer.data)["lastUpdateId"]
    for message in read_recording(file):
        if message.direction is not Direction.RECEIVED:
            continue
        body = json.loads(message.data)
        data = body.get("data", {})
        kind = data.get("e", "bookTicker" if "b" in data and "u" in data else "")
        since, number = books.get(data.get("s"), (0, 0))
        if kind == "depthUpdate":
            if message.receive_time > since and data["u"] <= number:
                found["stale"] += 1
                continue
            found["book_updates"] += len(data["b"]) + len(data["a"])
        elif kind in {"trade", "aggTrade"}:
            found["trades"] += 1
        elif kind == "bookTicker":
            found["quotes"] += 1
    return found


@pytest.mark.parametrize("name", [FUTURES, "order-book/cryptofeed/BINANCE.ws.1.0"])
def test_every_line_of_a_recording_of_binance_is_stored(lake, stored, market_data, name):
    file = market_data(name)
    report = import_streams(lake, "recordings", file, source="binance")
    assert not report.errors and report.total.stored == report.total.received
    wanted = counted(file)
    for table in ("trades", "quotes", "book_updates"):
        assert stored(table).height == wanted[table] > 0
    again = import_streams(lake, "recordings", file, source="binance")
    assert (again.total.stored, again.total.unchanged) == (0, report.total.stored)


def test_a_book_of_hftbacktests_recording_chains_to_its_snapshot_and_proves_itself(lake, stored, market_data):
    import_streams(lake, "recordings", market_data(FUTURES), source="binance")
    assert set(stored("trades")["symbol"]) == {"BTC-USDT-PERP"}
    assert stored("book_snapshots")["reason"].unique().to_list() == ["subscribed"]
    intervals = stored("stream_intervals")
    assert intervals["kind"].unique().to_list() == ["covered"]
    assert sorted(intervals["dataset"]) == ["book_updates", "trades"], "quotes have no numbers that prove anything"
    # The known defect of the file: its clock is behind the exchange's.
    assert (stored("trades")["receive_time"] < stored("trades")["exchange_time"]).all()
    ends = intervals.join(stored("trades").select(pl.col("exchange_time").max().alias("last")), how="cross")
    assert (ends.filter(pl.col("dataset") == "trades")["end_time"] <= ends["last"][0]).all()


def test_krakens_books_keep_every_checksum(lake, stored, market_data):
    report = import_streams(lake, "recordings", market_data("order-book/cryptofeed/KRAKEN.ws.50.0"), source="kraken")
    assert report.total.stored == report.total.received == 11_745
    assert stored("book_updates")["checksum"].drop_nulls().len() == 4_269
    covered = stored("stream_intervals")
    assert covered["kind"].unique().to_list() == ["covered"] and covered["symbol"].n_unique() == 10
    # Read back as what a collector heard, the venue's checksums prove the book.
    book = lake.book("BTC-CHF", at="2021-04-17T16:49:10Z", source="kraken", verify=True)
    assert book.filter(level=1)["price"].to_list()[0] == Decimal("56060.0")


def test_coinbases_recording_has_the_numbers_of_its_trades_as_evidence(lake, stored, market_data):
    import_streams(lake, "recordings", market_data("order-book/cryptofeed/COINBASE.ws.28.0"), source="coinbase")
    assert stored("stream_intervals")["dataset"].unique().to_list() == ["trades"]
    assert stored("book_updates").height > 9_000 and "SKL-USD" in stored("book_updates")["symbol"]


def test_several_venues_of_one_folder_are_refused_and_others_are_named(lake, market_data):
    with pytest.raises(FormatRefused, match="recordings of binance, bitmex, coinbase_exchange, kraken_v1"):
        import_streams(lake, "recordings", market_data("order-book/cryptofeed"), source="all")
    with pytest.raises(FormatRefused, match="no messages of a venue whose decoder this package has"):
        import_streams(lake, "recordings", market_data("order-book/cryptofeed/BITSTAMP.ws.1.0"), source="bitstamp")


def write(file: Path, lines: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as out:
        out.write("\n".join([*lines, ""]))
    return file


def trade(number: int, moment: int) -> str:
    data = {
        "e": "trade",
        "E": moment,
        "T": moment,
        "s": "BTCUSDT",
        "t": number,
        "p": "42000.10",
        "q": "0.5",
        "X": "MARKET",
        "m": True,
    }
    return f"{moment * 10**6 + 5} " + json.dumps({"stream": "btcusdt@trade", "data": data}, separators=(",", ":"))


NOON = 1_704_110_400_000


def test_missing_numbers_are_gaps_and_unreadable_messages_are_kept(lake, stored, tmp_path):
    lines = [trade(n, NOON + n * 1000) for n in (1, 2, 5, 6)]
    lines.insert(2, f'{(NOON + 2500) * 10**6} {{"stream":"btcusdt@trade","data":{{"e":"trade","t":"three"}}}}')
    report = import_streams(lake, "recordings", write(tmp_path / "btcusdt.gz", lines), source="binance")
    assert (report.total.stored, report.total.quarantined, report.missing) == (4, 1, 2)
    assert lake.quarantine()["reasons"].to_list() == [["broken_line"]] and "three" in lake.quarantine()["row"][0]
    gap = stored("stream_intervals").filter(pl.col("reason") == "sequence").to_dicts()
    assert [(row["first_sequence"], row["last_sequence"]) for row in gap] == [(3, 4)]
    assert stored("trades")["side"].unique().to_list() == ["sell"] and stored("trades")["price"][0] == Decimal(
        "42000.1"
    )


@pytest.mark.parametrize("rounds", [1, 3 * 10**9, 10**12])
def test_the_same_is_stored_whatever_is_read_at_once(lake, stored, market_data, monkeypatch, rounds):
    monkeypatch.setattr(recordings, "_ROUND", rounds)
    import_streams(lake, "recordings", market_data("order-book/cryptofeed/BINANCE.ws.1.0"), source="binance")
    sums = stored("book_updates").select(pl.len(), pl.col("size").sum(), pl.col("ordinal").sum()).row(0)
    monkeypatch.undo()
    import_streams(lake, "recordings", market_data("order-book/cryptofeed/BINANCE.ws.1.0"), source="again")
    assert (
        stored("book_updates", "again").select(pl.len(), pl.col("size").sum(), pl.col("ordinal").sum()).row(0) == sums
    )


def test_a_recording_that_breaks_off_keeps_what_lies_before(lake, stored, tmp_path, market_data):
    body = market_data(FUTURES).read_bytes()
    file = tmp_path / "btcusdt_20240718.gz"
    file.write_bytes(body[: len(body) // 2])
    report = import_streams(lake, "recordings", file, source="binance")
    assert "is damaged" in report.errors[file.name] and not report.whole
    assert 0 < stored("trades").height < 974 and report.total.stored == report.total.received
    file.write_bytes(b"no recording\n")
    with pytest.raises(FormatRefused, match="is not a line of cryptofeed"):
        import_streams(lake, "recordings", file, source="other")


@pytest.mark.long
def test_hftbacktest_makes_the_same_events_of_its_own_recording(lake, market_data, tmp_path):
    file = market_data(FUTURES)
    import_streams(lake, "recordings", file, source="binance")
    export_streams(lake, "hftbacktest", [("binance", "BTC-USDT-PERP")], tmp_path / "out", lossy=True)
    said = judge(HERE / "hftbacktest.txt", "raw", tmp_path / "out", file)
    # The exchange's clock is ahead, so that the last of them are of its next day.
    assert len(list((tmp_path / "out").iterdir())) == 2
    levels = [str(1 | side) for side in (1 << 29, 1 << 28)]
    assert {kind: said["own"][kind] for kind in levels} == {kind: said["wanted"][kind] for kind in levels}
    for side in (1 << 29, 1 << 28):
        assert said["own"][str(2 | side)][0] >= said["wanted"][str(2 | side)][0]
