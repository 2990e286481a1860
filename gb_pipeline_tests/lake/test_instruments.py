"""Who stood under which symbol when: told, changed, taken back, and still known as it was at every earlier moment."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, LakeError, WindowRefused
from gb_pipeline.lake import instruments, roll_tables
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.told_instruments import read_file
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.symbology import find_overlaps
from gb_pipeline_tests.bars import SetClock, at

FIGI = "BBG000MM2P62"
FACEBOOK = pl.DataFrame(
    {
        "symbol": ["FB", "META"],
        "valid_from": ["2012-05-18", "2022-06-09"],
        "valid_until": ["2022-06-09", None],
        "name": ["Facebook, Inc.", "Meta Platforms, Inc."],
        "composite_figi": [FIGI, FIGI],
    }
)
FUND = pl.DataFrame({"symbol": ["META"], "valid_from": ["2021-06-30"], "name": ["Roundhill Ball Metaverse ETF"]})


def rows(store, *names, **how):
    chosen = names or ("symbol", "valid_from", "valid_until")
    return instruments.read(store.tables, **how).select(chosen).rows()


def counts(report):
    return report.new, report.changed, report.ended, report.unchanged


def test_what_is_told_again_changes_nothing(store):
    first = store.write_instruments(FACEBOOK)
    assert counts(first) == (2, 0, 0, 0)
    assert len(set(first.instruments)) == 1
    again = store.write_instruments(FACEBOOK.sample(fraction=1, shuffle=True, seed=1))
    assert (counts(again), again.version) == ((0, 0, 0, 2), None)
    assert set(again.instruments) == set(first.instruments)
    assert verify(store).ok


def test_a_symbol_that_two_instruments_would_have_on_one_day_is_refused_with_both_named(store):
    store.write_instruments(FACEBOOK)
    with pytest.raises(LakeError, match=r"META is two instruments of own .* \(Roundhill .* and META is .* \(Meta Plat"):
        store.write_instruments(FUND)
    assert len(rows(store)) == 2
    left = store.write_instruments(FUND, strict=False)
    assert (left.new, len(left.refused)) == (0, 1)
    ended = FUND.with_columns(valid_until=pl.lit("2022-01-31"))
    assert store.write_instruments(ended).new == 1
    assert len(set(instruments.read(store.tables)["instrument"])) == 2


def test_an_instrument_has_one_symbol_on_a_day(store):
    both = FACEBOOK.with_columns(valid_until=pl.lit(None, pl.String()))
    with pytest.raises(LakeError, match=r"has two symbols of own on one day: FB is .* from 2012-05-18, and META is"):
        store.write_instruments(both)


def test_a_ticker_that_somebody_else_takes_later_is_another_instrument(store):
    store.write_instruments(FACEBOOK)
    later = store.write_instruments(pl.DataFrame({"symbol": ["FB"], "valid_from": ["2025-01-02"], "name": ["Fly By"]}))
    assert later.new == 1
    assert later.instruments[0] not in store.write_instruments(FACEBOOK).instruments
    assert len(rows(store)) == 3


def test_a_correction_stays_known_as_it_was_before(store):
    store.write_instruments(FACEBOOK)
    store.clock.now += timedelta(days=1)
    vendor_days = FACEBOOK.with_columns(
        valid_from=pl.Series(["2012-05-18", "2022-06-11"]), valid_until=pl.Series(["2022-06-11", None])
    )
    assert counts(store.write_instruments(vendor_days)) == (1, 1, 1, 0)
    before = rows(store, as_of=store.clock.now - timedelta(hours=1))
    assert before == [("FB", date(2012, 5, 18), date(2022, 6, 9)), ("META", date(2022, 6, 9), None)]
    assert rows(store) == [("FB", date(2012, 5, 18), date(2022, 6, 11)), ("META", date(2022, 6, 11), None)]


def tell(store, day, **columns):
    return store.write_instruments(pl.DataFrame(columns), source="alpaca", telling="present", fetched_at=at(day))


def test_a_vendor_that_tells_only_the_present_makes_a_history_by_its_ids(store):
    tell(store, "2022-06-01", symbol=["FB"], vendor_id=["a"])
    assert tell(store, "2022-06-02", symbol=["FB"], vendor_id=["a"]).version is None
    tell(store, "2022-06-09", symbol=["META"], vendor_id=["a"])
    tell(store, "2025-01-02", symbol=["META", "FB"], vendor_id=["a", "b"])
    tell(store, "2025-02-03", symbol=["META", "FB"], vendor_id=["a", "c"])
    since = date(1900, 1, 1)
    assert rows(store, "symbol", "valid_from", "valid_until", "vendor_id") == [
        ("FB", since, date(2022, 6, 9), "a"),
        ("FB", date(2022, 6, 9), date(2025, 2, 3), "b"),
        ("FB", date(2025, 2, 3), None, "c"),
        ("META", date(2022, 6, 9), None, "a"),
    ]
    assert len(set(instruments.read(store.tables)["instrument"])) == 3


def test_delisted_names_stay_and_one_that_comes_back_stands_twice(store):
    tell(store, "2024-01-02", symbol=["X"], vendor_id=["x"])
    assert tell(store, "2024-01-03", symbol=["Y"], vendor_id=["y"]).ended == 0
    tell(store, "2024-01-04", symbol=["X"], vendor_id=["x"], valid_until=["2024-01-04"])
    assert tell(store, "2024-01-05", symbol=["X"], vendor_id=["x"], valid_until=["2024-01-04"]).version is None
    tell(store, "2024-02-01", symbol=["X"], vendor_id=["x"])
    own = [row for row in rows(store) if row[0] == "X"]
    assert own == [("X", date(1900, 1, 1), date(2024, 1, 4)), ("X", date(2024, 2, 1), None)]


def test_what_a_source_no_longer_tells_stays_known(store):
    tell(store, "2024-01-02", symbol=["X"], vendor_id=["x"], composite_figi=[FIGI], name=["X Corp"])
    tell(store, "2024-01-03", symbol=["X"], vendor_id=["x"], name=["X Inc"])
    assert rows(store, "name", "composite_figi") == [("X Inc", FIGI)]


def test_sources_speak_of_one_instrument_where_figi_contract_or_listing_say_so(store):
    one = store.write_instruments(FACEBOOK, source="massive").instruments[0]
    assert tell(store, "2024-01-02", symbol=["META"], vendor_id=["a"], composite_figi=[FIGI]).instruments == (one,)
    contract = {"root": ["ES"], "expiry": ["2013-12-20"], "exchange": ["XCME"]}
    ours = store.write_instruments(pl.DataFrame({"symbol": ["ESZ13"], **contract})).instruments
    theirs = store.write_instruments(pl.DataFrame({"symbol": ["ES201312"], **contract}), source="lean").instruments
    assert ours == theirs
    listing = {"symbol": ["KO"], "exchange": ["XNYS"]}
    assert (
        store.write_instruments(pl.DataFrame(listing)).instruments
        == store.write_instruments(pl.DataFrame(listing), source="yahoo").instruments
    )
    pair = {"symbol": ["BTC-USD"], "asset_class": ["crypto"]}
    told = [
        store.write_instruments(pl.DataFrame({**pair, "exchange": [name]}), source=name).instruments
        for name in ("kraken", "coinbase")
    ]
    assert told[0] != told[1]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ({"symbol": ["FB"], "valid_frm": ["2020-01-01"]}, "no column 'valid_frm'"),
        ({"symbol": ["fb"]}, "row 1: symbol"),
        ({"valid_from": ["2020-01-01"]}, "no column 'symbol'"),
        ({"symbol": ["FB", "X"], "valid_from": ["2020-01-01", "01/02/2020"]}, "row 2: valid_from '01/02/2020'"),
        ({"symbol": ["FB"], "valid_from": ["2020-01-02"], "valid_until": ["2020-01-02"]}, "is no day"),
        ({"symbol": ["FB"], "asset_class": ["bond"]}, "'bond' is no asset class"),
        ({"symbol": ["FB"], "tick_size": ["0"]}, "tick size"),
        ({"symbol": ["FB"], "option_right": ["both"]}, "option_right 'both'"),
        ({"symbol": ["FB", "FB"]}, "told twice: FB from the beginning"),
        ({"symbol": [None]}, "row 1: no symbol"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_stored(store, frame, says):
    with pytest.raises(WindowRefused, match=says):
        store.write_instruments(pl.DataFrame(frame))
    assert not rows(store)


def test_files_are_read_as_they_are_written():
    csv = b"symbol,tick_size,root,expiry\nESZ13,0.25,ES,2013-12-20\n"
    assert read_file(csv, "chain.csv").rows() == [("ESZ13", "0.25", "ES", "2013-12-20")]
    yaml = b"- {symbol: ON, valid_from: 2000-05-02, valid_until: ~}\n- {symbol: TRUE, name: Yes}\n"
    assert read_file(yaml, "names.yaml").rows() == [("ON", "2000-05-02", None, None), ("TRUE", None, None, "Yes")]
    for text, name, says in [
        (b"symbol", "names.txt", "neither CSV nor YAML"),
        (b"a: b", "names.yaml", "not a list of instruments|no column"),
        (b"- {symbol: [a]}", "names.yaml", "more than texts"),
        (b"- {symbol: a, symbol: b}", "names.yaml", "stands in line 1 already"),
        (b"", "names.csv", "cannot be read"),
    ]:
        with pytest.raises((ConfigError, WindowRefused), match=says):
            frame = read_file(text, name)
            LakeStore.at("unused").write_instruments(frame)


codes = st.sampled_from(["A", "B", "C"])
told = st.lists(
    st.tuples(codes, st.sampled_from("xyz")), min_size=1, max_size=3, unique_by=(lambda r: r[0], lambda r: r[1])
)


@settings(max_examples=25, deadline=None)
@given(days=st.lists(told, min_size=1, max_size=5))
def test_whatever_a_vendor_tells_no_day_has_two_meanings_and_every_earlier_moment_stays(tmp_path_factory, days) -> None:
    store = LakeStore.at(tmp_path_factory.mktemp("lake"), clock=SetClock(at("2024-01-01T00:00")))
    known: list[tuple[datetime, list[tuple[object, ...]]]] = []
    for listed in days:
        store.clock.now += timedelta(days=1)
        frame = pl.DataFrame({"symbol": [row[0] for row in listed], "vendor_id": [row[1] for row in listed]})
        report = store.write_instruments(frame, source="sim", telling="present")
        assert not report.refused
        now = instruments.read(store.tables)
        assert find_overlaps(now).is_empty()
        # What the vendor tells is what stands.
        standing = now.filter(pl.col("valid_until").is_null()).select("symbol", "vendor_id").rows()
        assert set(listed) <= set(standing)
        assert now.group_by("vendor_id").agg(pl.col("instrument").n_unique())["instrument"].max() == 1
        assert now.group_by("instrument").agg(pl.col("vendor_id").n_unique())["vendor_id"].max() == 1
        known.append((store.clock.now + timedelta(hours=1), now.rows()))
    for moment, before in known:
        assert instruments.read(store.tables, as_of=moment).rows() == before


def test_ten_years_of_index_members_are_taken_whole(store, market_data: Callable[[str], Path]) -> None:
    """Each line of the list is a stretch of its own: a ticker that comes back later overlaps with nothing."""
    listed = pl.read_csv(market_data("universe") / "sp500_ticker_start_end.csv", infer_schema=False)
    frame = listed.rename({"ticker": "symbol", "start_date": "valid_from", "end_date": "valid_until"})
    frame = frame.filter(pl.col("valid_from") != pl.col("valid_until").fill_null(""))
    report = store.write_instruments(frame)
    assert report.new == frame.height > 1200
    again = frame["symbol"].is_duplicated().sum()
    assert again > 50
    assert len(set(report.instruments)) == frame.height


def test_a_bundle_of_zipline_and_a_security_master_are_inputs(store, market_data: Callable[[str], Path]) -> None:
    [path] = market_data("zipline-bundle").rglob("assets-7.sqlite")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        mapped = database.execute("select sid, symbol, start_date, end_date from equity_symbol_mappings").fetchall()
    days = [
        (sid, code, *(datetime.fromtimestamp(edge // 10**9, UTC).date() for edge in edges))
        for sid, code, *edges in mapped
    ]
    bundle = pl.DataFrame(days, ["vendor_id", "symbol", "valid_from", "valid_until"], orient="row")
    bundle = bundle.with_columns(pl.col("vendor_id").cast(pl.String), pl.col("valid_until").dt.offset_by("1d"))
    report = store.write_instruments(bundle, source="quandl")
    assert report.new == 9
    assert ("DELL", date(2004, 1, 2), date(2013, 10, 30)) in rows(store)
    lines = (
        (market_data("corporate-actions") / "databento-security-master.jsonl").read_text(encoding="utf-8").splitlines()
    )
    for line in map(json.loads, lines):
        frame = pl.DataFrame(
            {
                "symbol": [line["local_code"]], "valid_from": [line["listing_date"]], "vendor_id": [line["listing_id"]],
                "name": [line["issuer_name"]], "exchange": [line["operating_mic"]], "currency": [line["trading_currency"]],
                "composite_figi": [line["bbg_comp_id"]], "isin": [line["isin"]],
            }
        )  # fmt: skip
        store.write_instruments(frame, source="databento", fetched_at=datetime.fromisoformat(line["ts_record"]))
    [apple] = instruments.read(store.tables, "databento").to_dicts()
    assert (apple["isin"], apple["exchange"], apple["valid_from"]) == ("US0378331005", "XNAS", date(1980, 12, 12))


def test_a_table_of_rolls_is_replaced_and_stays_known_as_it_was(store):
    table = pl.DataFrame({"session": [date(2013, 12, 20)], "from_symbol": ["ESZ13"], "to_symbol": ["ESH14"]})
    assert store.write_rolls("ES", table) == 1
    assert store.write_rolls("ES", table) == 0
    store.clock.now += timedelta(days=1)
    earlier = table.with_columns(session=pl.lit(date(2013, 12, 13)))
    assert store.write_rolls("ES", earlier) == 2
    assert roll_tables.read(store.tables, "ES")["session"].to_list() == [date(2013, 12, 13)]
    before = roll_tables.read(store.tables, "ES", as_of=store.clock.now - timedelta(hours=1))
    assert before["session"].to_list() == [date(2013, 12, 20)]
    with pytest.raises(ConfigError, match="come back to ESZ13"):
        store.write_rolls(
            "ES", pl.concat([table, table.select("session", from_symbol="to_symbol", to_symbol="from_symbol")])
        )


def test_codes_of_options_and_futures_say_what_was_not_told(store):
    told = {"symbol": ["AAPL260116C00190500", "ESZ26", "BRK.B"], "asset_class": ["option", "future", "equity"]}
    store.write_instruments(pl.DataFrame(told))
    names = ("symbol", "underlying", "expiry", "option_right", "strike", "root")
    assert rows(store, *names) == [
        ("AAPL260116C00190500", "AAPL", date(2026, 1, 16), "call", Decimal("190.5"), None),
        ("BRK.B", None, None, None, None, None),
        ("ESZ26", None, None, None, None, "ES"),
    ]
    right = pl.DataFrame({"symbol": ["SPX1"], "asset_class": ["option"], "underlying": ["SPX"], "option_right": ["P"]})
    store.write_instruments(right.with_columns(strike=pl.lit("4000"), expiry=pl.lit("2024-01-19")))
    assert ("SPX1", "put", Decimal(4000)) in rows(store, "symbol", "option_right", "strike")
