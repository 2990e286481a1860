"""Symbols in files: lists, point-in-time lists, and what is wrong with them, line by line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.config.symbols.membership_intervals import MembershipInterval
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.work import counted_work

SOURCE = {"provider": "csv", "options": {"path": "{symbol}.csv"}, "start": date(2019, 1, 1), "resolutions": ["1d"]}


def source(folder: Path, symbols: Any, **settings: Any) -> SourceSettings:
    import yaml

    body = {"sources": {"s": {**SOURCE, "symbols": symbols, **settings}}}
    (folder / "gb.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return Settings.load(folder).source("s")


def codes(found: Any) -> list[str]:
    return [symbol.code for symbol in found]


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_file_says_what_a_mapping_of_gb_yaml_would(tmp_path: Path) -> None:
    text = (
        "code,vendor,exchange,asset_class,listed_from,listed_until,name\n"
        "brk/b,BRK-B,XNYS,,2019-05-01,,Berkshire\n\nEUR/USD,,,forex,,2024-03-01,\n"
    )
    (tmp_path / "symbols.csv").write_text(text, encoding="utf-8")
    found = source(tmp_path, {"file": "symbols.csv"})
    assert codes(found.instruments) == ["BRK.B", "EUR-USD"]
    share = found.symbol_settings("BRK.B")
    assert (share.vendor, share.exchange, share.listed_from) == ("BRK-B", "XNYS", date(2019, 5, 1))
    assert found.listing("EUR-USD") == (None, date(2024, 3, 1))
    assert found.instruments[1].asset_class == "forex"


def test_what_was_listed_on_a_day_are_the_members_of_a_list(tmp_path: Path) -> None:
    found = source(tmp_path, ["A", {"code": "B", "listed_from": "2020-01-02", "listed_until": "2021-01-02"}])
    on = {day: codes(found.members(date.fromisoformat(day))) for day in ("2020-01-01", "2020-01-02", "2021-01-02")}
    assert on == {"2020-01-01": ["A"], "2020-01-02": ["A", "B"], "2021-01-02": ["A"]}


def test_a_listed_symbol_stands_before_those_of_the_file_and_wins(tmp_path: Path) -> None:
    (tmp_path / "symbols.csv").write_text("code,vendor\nA,from-file\nB,\n", encoding="utf-8")
    found = source(tmp_path, {"list": ["Z", {"code": "a", "vendor": "from-list"}], "file": "symbols.csv"})
    assert codes(found.instruments) == ["Z", "A", "B"]
    assert found.symbol_settings("A").vendor == "from-list"


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_of_all_editors_are_read(tmp_path: Path, mark: str, newline: str) -> None:
    (tmp_path / "s.csv").write_bytes(f"{mark}code{newline}AAPL{newline} msft {newline}".encode())
    assert codes(source(tmp_path, {"file": "s.csv"}).instruments) == ["AAPL", "MSFT"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("code\nAAPL\nMSFT\naapl\n", "line 4: AAPL stands in line 2 already"),
        ("code\nBRK.B\nBRK/B\n", "line 3: BRK.B stands in line 2 already"),
        ("code\n../../etc\n", "line 2: symbol '......ETC' is not a canonical code"),
        ("code\nCON\n", "line 2: symbol 'CON' is not a canonical code"),
        ("code\n币安\n", "line 2: symbol '币安' is not ASCII"),
        ("code,vendor\nA,=HYPERLINK(1)\n", "line 2: vendor '=HYPERLINK(1)' would be run as a formula"),
        ("code,vendor\nA,@x\nB,+1\nC,-2\n", "line 2: vendor '@x' would be run"),
        ('code,vendor\nA,"two\nlines"\n', "would be run as a formula"),
        ("code,vendor\nA,\x1b[31m\n", "would be run as a formula"),
        ("code,listed_from\nA,2024-02-30\n", "line 2: listed_from '2024-02-30' is no day of the calendar"),
        ("code,listed_from\nA,1/2/2024\n", "line 2: listed_from '1/2/2024' is no date; write 2024-01-02"),
        ("code,listed_from,listed_until\nA,2024-01-02,2024-01-02\n", "line 2: listed_until 2024-01-02 is not after"),
        ("code,asset_class\nA,stonk\n", "line 2: asset_class 'stonk' is none of"),
        ("code,vendor\nA\n", "line 2: 1 cells below 2 columns"),
        ('code\n"A\n', "line 2"),
        ("code,listed_untill\nA,\n", "the first line has 'listed_untill', which means nothing here"),
        ("symbol\nA\n", "the first line lacks code"),
        ("code;vendor\nA;\n", "the first line lacks code"),
        ("code,code\nA,A\n", "the first line has twice code"),
        ("", "the first line lacks code; it is empty"),
        ("code\nA\x00B\n", "line 2"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        source(tmp_path, {"file": "s.csv"})
    assert says in raised.value.what
    assert raised.value.fix


def test_many_mistakes_are_told_at_once_and_not_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("code\n" + "".join(f"no code {n}\n" for n in range(50)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2: .*line 6: .*and 45 more"):
        source(tmp_path, {"file": "s.csv"})


def test_a_file_that_is_not_there_or_no_text_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*nowhere\.csv"):
        source(tmp_path, {"file": "nowhere.csv"})
    (tmp_path / "s.csv").write_bytes(b"code\nA\n\xff\xfe\n")
    with pytest.raises(ConfigError, match="line 3 is not UTF-8"):
        source(tmp_path, {"file": "s.csv"})
    with pytest.raises(ConfigError, match="is no file"):
        source(tmp_path, {"file": "."})


@pytest.mark.parametrize(
    ("symbols", "says"),
    [
        ([True], "YAML reads this code as True; write it in quotes"),
        ([448], "YAML reads this code as 448"),
        ([1.1], "YAML reads this code as 1.1"),
        ([None], "YAML reads this code as None"),
        ([{"code": False}], "YAML reads this code as False"),
        ("BTC-USD", "give a list of codes, or a mapping"),
        ({"file": "a.csv", "discover": {}}, "file and discover cannot be combined"),
        ({"codes": []}, "codes"),
        ({"discover": {"top": 50}}, "say `quote` as well"),
        ({"discover": {"quote": "USD", "top": 0}}, "greater than 0"),
        ({"discover": {"match": "("}}, "is no regular expression"),
        ({"discover": {"exclude": [True]}}, "write them in quotes"),
        ({"members": {"file": "a.csv", "form": "x"}}, "form"),
        ({"list": ["A", "a"]}, "symbols listed twice: A"),
        ({"list": "A"}, "give a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, symbols: Any, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        source(tmp_path, symbols)
    assert says in raised.value.what


def test_no_symbols_at_all_are_a_source_as_well(tmp_path: Path) -> None:
    for symbols in ([], None, {}, {"list": []}, {"discover": None}, {"discover": {}}):
        found = source(tmp_path, symbols)
        assert (found.symbols, found.instruments, found.members(date(2024, 1, 2))) == ((), (), ())


def test_a_copy_with_other_symbols_knows_them(tmp_path: Path) -> None:
    found = source(tmp_path, ["A", "B"])
    copy = found.model_copy(update={"symbols": found.symbols[:1]})
    assert codes(copy.instruments) == ["A"]
    assert copy.listing("B") == (None, None)
    assert codes(found.instruments) == ["A", "B"]


# --- point-in-time lists ----------------------------------------------------------------------------------------------


def members(folder: Path, text: str, **spec: Any) -> SourceSettings:
    (folder / "members.csv").write_text(text, encoding="utf-8")
    return source(folder, {"members": {"file": "members.csv", **spec}})


def test_who_joins_on_a_day_is_in_and_who_leaves_on_it_is_out(tmp_path: Path) -> None:
    found = members(tmp_path, "code,from,until\nOLD,,2020-06-22\nNEW,2020-06-22,\n")
    assert codes(found.members(date(2020, 6, 21))) == ["OLD"]
    assert codes(found.members(date(2020, 6, 22))) == ["NEW"]


def test_leaving_an_index_is_no_delisting(tmp_path: Path) -> None:
    found = members(tmp_path, "code,from,until\nX,2018-01-02,2020-01-02\n")
    assert codes(found.instruments) == ["X"]
    assert found.listing("X") == (None, None)


def test_symbols_are_all_members_since_the_source_begins(tmp_path: Path) -> None:
    text = "code,from,until\nEARLY,2000-01-03,2019-01-01\nLAST,2000-01-03,2019-01-02\nLATER,2030-01-02,\n"
    assert codes(members(tmp_path, text).instruments) == ["LAST", "LATER"]
    found = source(tmp_path, {"members": {"file": "members.csv"}}, end=date(2030, 1, 2))
    assert codes(found.instruments) == ["LAST"]


def test_several_stays_of_one_ticker_in_any_order_and_spelling(tmp_path: Path) -> None:
    found = members(tmp_path, "code,from,until\nbrk/b,2022-01-03,\nBRK.B,2019-02-01,2020-02-03\n", exclude=["NOPE"])
    days = {date(2019, 1, 31): 0, date(2019, 2, 1): 1, date(2020, 2, 3): 0, date(2022, 1, 3): 1}
    assert {day: len(found.members(day)) for day in days} == days


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A,2020-01-02,2020-06-01\na,2020-05-29,\n", "line 3: A is in already, by line 2"),
        ("A,,\nA,2020-01-02,\n", "line 3: A is in already, by line 2"),
        ("A,2020-01-02,2020-01-02\n", "line 2: until 2020-01-02 is not after from 2020-01-02"),
        ("A,02.01.2020,\n", "line 2: from '02.01.2020' is no date"),
        ("=A,,\n", "line 2: code '=A' would be run as a formula"),
        (",2020-01-02,\n", "line 2: symbol '' is empty"),
    ],
)
def test_stays_that_cannot_be_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        members(tmp_path, "code,from,until\n" + text)
    assert says in raised.value.what


DAYS = st.dates(date(2019, 1, 1), date(2019, 3, 1))


@given(a=DAYS, b=DAYS, c=DAYS, d=DAYS)
def test_stays_overlap_where_a_day_is_covered_by_both(a: date, b: date, c: date, d: date) -> None:
    first, second = MembershipInterval(min(a, b), max(a, b)), MembershipInterval(min(c, d), max(c, d))
    both = [n for n in range(70) if first.covers(day := date(2019, 1, 1) + timedelta(n)) and second.covers(day)]
    if min(a, b) < max(a, b) and min(c, d) < max(c, d):
        assert first.overlaps(second) == second.overlaps(first) == bool(both)


SP500 = {"file": "", "code": "ticker", "from": "start_date", "until": "end_date"}


@pytest.fixture
def sp500(market_data: Callable[[str], Path], tmp_path: Path) -> SourceSettings:
    file = market_data("universe/sp500_ticker_start_end.csv")
    return source(tmp_path, {"members": SP500 | {"file": str(file)}}, start=date(1996, 1, 2))


def test_the_real_index_has_its_five_hundred_members_on_every_day(sp500: SourceSettings) -> None:
    counts = {
        day: len(sp500.members(date.fromisoformat(day)))
        for day in ("2008-09-15", "2015-06-01", "2019-01-17", "2019-01-18", "2020-12-21", "2024-09-23", "2025-07-09")
    }
    assert counts == {
        "2008-09-15": 498, "2015-06-01": 500, "2019-01-17": 505, "2019-01-18": 505, "2020-12-21": 505,
        "2024-09-23": 503, "2025-07-09": 503,
    }  # fmt: skip


def test_the_real_index_changes_as_its_list_of_changes_says(
    sp500: SourceSettings, market_data: Callable[[str], Path]
) -> None:
    import csv

    told = disagreed = 0
    with market_data("universe/sp500_changes_since_2019.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            day = date.fromisoformat(row["date"])
            if day > date(2025, 7, 9):
                continue
            before, after = ({s.code for s in sp500.members(day - timedelta(n))} for n in (1, 0))
            for code in filter(None, row["add"].split(",")):
                told, disagreed = told + 1, disagreed + ((code in before) or (code not in after))
            for code in filter(None, row["remove"].split(",")):
                told, disagreed = told + 1, disagreed + ((code not in before) or (code in after))
    # One renaming of January 2022 and one of July 2023 carry other days in the two files.
    assert (told, disagreed) == (274, 4)


def test_each_of_a_thousand_tickers_is_found_without_looking_at_the_others(sp500: SourceSettings) -> None:
    symbols = sp500.instruments
    sp500.listing(symbols[0])
    with counted_work() as work:
        for symbol in symbols:
            sp500.listing(symbol)
    assert len(symbols) == 1181
    assert work.calls < 50 * len(symbols)
