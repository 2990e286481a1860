"""Refreshing a universe from what a simulated exchange lists: who joins, leaves and comes back, and what is not believed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.config.symbols import discovered
from gb_pipeline.config.symbols.discovered import Entry
from gb_pipeline.config.symbols.spec import Discovery
from gb_pipeline.errors import ConfigError, LakeError, TransientVendorError, UniverseRefused, VendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import fetches
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline.universe.changes import merge_list, refuse_losses
from gb_pipeline.universe.discovery import Refreshed, choose, refresh
from gb_pipeline.universe.vendor_lists import find, look_up
from gb_pipeline_tests.ingest.clock import stop_at

COINS = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOGE")
CODES = [*(f"{coin}-USDT" for coin in COINS), "BTC-USD", "ETH-USD", "BTC-USDT-PERP"]
NOW = datetime(2024, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=CODES) as running:
        yield running


@pytest.fixture
def sim(exchange: Simulation) -> Iterator[Simulation]:
    exchange.reset()
    exchange.set_now(NOW)
    listed = dict(exchange.exchange.instruments)
    yield exchange
    exchange.exchange.instruments.clear()
    exchange.exchange.instruments.update(listed)


class Project:
    """A gb.yaml with one discovered source, and its lake."""

    def __init__(self, folder: Path, sim: Simulation, exchange: str, discover: dict[str, Any]) -> None:
        self.folder, self.sim = folder, sim
        self.write(exchange, discover)
        self.store = LakeStore.at(folder / "data")
        self.file = folder / "data/universe/s.csv"

    def write(self, exchange: str, discover: dict[str, Any]) -> None:
        source = {
            "provider": "ccxt", "options": {"exchange": exchange, "base_url": self.sim.url}, "asset_class": "crypto",
            "start": date(2024, 3, 1), "symbols": {"discover": discover}, "resolutions": ["1h"], "retries": 0,
        }  # fmt: skip
        (self.folder / "gb.yaml").write_text(yaml.safe_dump({"sources": {"s": source}}), encoding="utf-8")

    @property
    def source(self) -> SourceSettings:
        return Settings.load(self.folder).source("s")

    def refresh(self, day: int = 10, **options: Any) -> Refreshed:
        now = datetime(2024, 3, day, 12, tzinfo=UTC)
        self.sim.set_now(now)
        return refresh(self.store, self.source, now=now, **options)

    @property
    def codes(self) -> list[str]:
        return [symbol.code for symbol in self.source.instruments]

    def members(self, day: int) -> list[str]:
        return [symbol.code for symbol in self.source.members(date(2024, 3, day))]


@pytest.fixture
def binance(tmp_path: Path, sim: Simulation) -> Project:
    return Project(tmp_path, sim, "binance", {"quote": "USDT"})


def kinds(done: Refreshed) -> list[tuple[str, str]]:
    return [(change.code, change.kind) for change in done.changes]


# --- what is chosen -----------------------------------------------------------------------------------------------------


def test_before_the_first_refresh_a_source_loads_without_symbols_and_without_a_request(
    binance: Project, sim: Simulation
) -> None:
    before = len(sim.requests)
    assert binance.source.symbols == ()
    assert binance.source.universe.path == binance.file
    assert len(sim.requests) == before


def test_the_conditions_choose(binance: Project) -> None:
    done = binance.refresh()
    assert (done.listed, done.chosen, done.known) == (7, 6, 6)
    assert binance.codes == sorted(f"{coin}-USDT" for coin in COINS)
    assert binance.source.symbol_settings("BTC-USDT").vendor == "BTC/USDT"
    assert {symbol.exchange for symbol in binance.source.instruments} == {"binance"}


@pytest.mark.parametrize("vendor", ["binance", "kraken", "coinbase"])
def test_the_largest_turnovers_are_those_that_the_market_made(tmp_path: Path, sim: Simulation, vendor: str) -> None:
    project = Project(tmp_path, sim, vendor, {"quote": "USDT", "top": 3})
    project.refresh()
    sums: dict[str, Decimal] = {}
    for coin in COINS:
        bars = sim.exchange.bars(f"{coin}-USDT", "1m", sim.exchange.now - 86_400_000, sim.exchange.now, 1441)
        sums[f"{coin}-USDT"] = sum((Decimal(bar.quote_volume) for bar in bars), Decimal())
    assert project.codes == sorted(sorted(sums, key=lambda code: sums[code])[-3:])


@pytest.mark.parametrize(
    ("discover", "chosen"),
    [
        ({"quote": "USDT", "match": "^(BTC|ETH)-", "exclude": ["eth-usdt"]}, ["BTC-USDT"]),
        ({"match": "BTC", "perpetuals": True}, ["BTC-USDT", "BTC-USDT-PERP"]),
        ({"quote": ["USDT", "EUR"], "match": "SOL|DOGE"}, ["DOGE-USDT", "SOL-USDT"]),
        ({"quote": "USDT", "top": 2, "match": "BTC", "perpetuals": True}, ["BTC-USDT", "BTC-USDT-PERP"]),
    ],
)
def test_all_conditions_hold_together(
    tmp_path: Path, sim: Simulation, discover: dict[str, Any], chosen: list[str]
) -> None:
    project = Project(tmp_path, sim, "binance", discover)
    project.refresh()
    assert project.codes == chosen


def test_conditions_that_nothing_meets_are_said_with_what_there_is(tmp_path: Path, sim: Simulation) -> None:
    project = Project(tmp_path, sim, "binance", {"quote": "CHF"})
    with pytest.raises(ConfigError, match="none of the 7 instruments") as raised:
        project.refresh()
    assert "USDT" in raised.value.fix
    assert not project.file.exists()


def test_a_vendor_without_turnovers_cannot_be_asked_for_the_largest() -> None:
    wish = Discovery(quote=("USD",), top=2)
    source = SourceSettings.model_validate({"name": "s", "provider": "csv", "start": TODAY, "symbols": []})
    with pytest.raises(ConfigError, match="tells no turnover"):
        choose([listed("A", quote="USD")], wish, source)


# --- what changes -------------------------------------------------------------------------------------------------------


def test_a_second_refresh_changes_no_byte(binance: Project) -> None:
    binance.refresh()
    before, at = binance.file.read_bytes(), binance.file.stat().st_mtime_ns
    assert binance.refresh(day=11).changes == ()
    assert (binance.file.read_bytes(), binance.file.stat().st_mtime_ns) == (before, at)


def test_a_delisted_pair_keeps_its_place_its_data_and_gets_its_end(binance: Project, sim: Simulation) -> None:
    binance.refresh()
    job = [Job(Symbol.crypto("SOL-USDT"), date(2024, 3, 1), date(2024, 3, 10))]
    assert ingest(stop_at(binance.store, NOW), binance.source, Resolution.HOUR, job)[0].ok
    sim.plant("delisting", "SOL-USDT", start="2024-03-12T08:00Z")
    done = binance.refresh(day=13)
    assert kinds(done) == [("SOL-USDT", "left"), ("SOL-USDT", "delisted")]
    source = binance.source
    assert "SOL-USDT" in binance.codes
    assert source.listing("SOL-USDT") == (None, date(2024, 3, 13))
    assert ("SOL-USDT" in binance.members(12), "SOL-USDT" in binance.members(13)) == (True, False)

    asked = len(sim.requests)
    late = [Job(Symbol.crypto("SOL-USDT"), date(2024, 3, 13), date(2024, 3, 15))]
    [outcome] = ingest(stop_at(binance.store, datetime(2024, 3, 16, tzinfo=UTC)), source, Resolution.HOUR, late)
    assert [session.status for session in outcome.sessions] == [SessionStatus.NOT_LISTED] * 2
    assert not any("klines" in str(request) for request in list(sim.requests)[asked:])
    refresh_catalog(binance.store, Settings.load(binance.folder).sources)
    lake = Lake.open(binance.folder / "data")
    assert lake.bars("SOL-USDT", "1h", source="s").height == 9 * 24
    [row] = lake.sql("select listed_from, listed_until, record_count from symbol_data").to_dicts()
    assert row == {"listed_from": None, "listed_until": date(2024, 3, 13), "record_count": 9 * 24}


def test_a_pair_that_the_vendor_forgets_is_delisted_on_the_day_it_is_missed(tmp_path: Path, sim: Simulation) -> None:
    project = Project(tmp_path, sim, "kraken", {"quote": "USDT"})
    project.refresh()
    sim.plant("delisting", "ADA-USDT", start="2024-03-12")
    project.refresh(day=15)
    assert project.source.listing("ADA-USDT") == (None, date(2024, 3, 15))
    # Missed again, it was not delisted again.
    assert project.refresh(day=20).changes == ()


def test_what_comes_back_has_another_line_and_the_old_one_stays_true(binance: Project, sim: Simulation) -> None:
    binance.refresh()
    sim.plant("delisting", "SOL-USDT", start="2024-03-12")
    binance.refresh(day=13)
    sim.exchange.reset()
    done = binance.refresh(day=20)
    assert kinds(done) == [("SOL-USDT", "back"), ("SOL-USDT", "relisted")]
    assert binance.source.listing("SOL-USDT") == (None, None)
    lines = [line for line in binance.file.read_text(encoding="utf-8").splitlines() if line.startswith("SOL")]
    assert lines == [
        "SOL-USDT,SOL/USDT,binance,crypto,,2024-03-13,2024-03-10,2024-03-13",
        "SOL-USDT,SOL/USDT,binance,crypto,,,2024-03-20,",
    ]
    assert ["SOL-USDT" in binance.members(day) for day in (9, 10, 12, 13, 19, 20)] == [
        False, True, True, False, False, True,
    ]  # fmt: skip


def test_who_falls_out_of_the_largest_has_left_and_is_still_fetched(binance: Project, sim: Simulation) -> None:
    binance.write("binance", {"quote": "USDT", "top": 4})
    binance.refresh()
    assert "ADA-USDT" not in binance.codes
    # The largest of all trades no more for a day: somebody else moves up.
    sim.plant("gap", "BTC-USDT", start="2024-03-10", end="2024-03-13")
    done = binance.refresh(day=12)
    assert dict(kinds(done))["BTC-USDT"] == "left"
    assert "BTC-USDT" in binance.codes
    assert binance.source.listing("BTC-USDT") == (None, None)
    assert "BTC-USDT" not in binance.members(12)


def test_a_new_listing_joins_with_the_day_that_the_vendor_tells(binance: Project, sim: Simulation) -> None:
    binance.write("binance", {"quote": "USDT", "perpetuals": True})
    sim.plant("listing", "DOGE-USDT", start="2024-03-11T06:00Z")
    binance.refresh()
    assert "DOGE-USDT" not in binance.codes
    assert kinds(binance.refresh(day=12)) == [("DOGE-USDT", "joined")]
    assert binance.source.listing("BTC-USDT-PERP") == (date(2019, 9, 8), None)


@pytest.mark.parametrize(
    ("vendor", "options", "until"),
    [
        ("massive", {"key": "demo"}, date(2024, 3, 12)),
        ("alpaca", {"key": "demo", "secret": "demo"}, date(2024, 3, 13)),
        ("alpha_vantage", {"key": "demo"}, date(2024, 3, 12)),
    ],
)
def test_vendors_of_shares_tell_of_delistings_each_in_its_own_way(
    tmp_path: Path, sim: Simulation, vendor: str, options: dict[str, str], until: date
) -> None:
    project = Project(tmp_path, sim, "binance", {"quote": "USD"})
    source = {
        "provider": vendor, "options": options | {"base_url": sim.url}, "calendar": "XNYS", "start": date(2024, 3, 1),
        "symbols": {"discover": {"quote": "USD"}}, "resolutions": ["1d"], "retries": 0,
    }  # fmt: skip
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"s": source}}), encoding="utf-8")
    done = project.refresh(day=8)
    assert done.chosen == done.known == 12
    sim.plant("delisting", "IBM", start="2024-03-12", announced="2024-03-11")
    assert kinds(project.refresh(day=13)) == [("IBM", "left"), ("IBM", "delisted")]
    # Alpaca says that it trades no more, and not since when.
    assert project.source.listing("IBM")[1] == until
    assert fetches.read(project.store.tables, "s")["calls"].to_list() == [2, 2]


# --- what is not believed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "<html>maintenance</html>"},
        {"body": '{"symbols": []}'},
        {"body": "{}"},
        {"body": '{"symbols": [{"symbol": "BTC'},
        {"body": "[]"},
        {"status": 503},
        {"action": "reset"},
    ],
    ids=str,
)
def test_a_broken_list_changes_nothing(binance: Project, sim: Simulation, fault: dict[str, Any]) -> None:
    binance.refresh()
    before = binance.file.read_bytes()
    sim.faults.add(match="api.binance.com.*exchangeInfo", times=-1, **fault)
    sim.faults.add(match="fapi.binance.com.*exchangeInfo", times=-1, **fault)
    with pytest.raises(VendorError):
        binance.refresh(day=11)
    assert binance.file.read_bytes() == before
    rows = fetches.read(binance.store.tables, "s").select("kind", "symbol", "outcome")
    assert rows.rows() == [("instruments", "*", "ok"), ("instruments", "*", "error")]


def test_a_list_that_lost_more_than_half_is_believed_only_by_force(binance: Project, sim: Simulation) -> None:
    binance.refresh()
    before = binance.file.read_bytes()
    for coin in ("BTC", "ETH", "SOL", "XRP"):
        del sim.exchange.instruments[f"{coin}-USDT"]
    with pytest.raises(UniverseRefused, match="only 2 of 6 symbols of s would still be chosen") as raised:
        binance.refresh(day=11)
    assert "--force" in raised.value.fix
    assert binance.file.read_bytes() == before
    binance.refresh(day=11, force=True)
    assert len(binance.codes) == 6
    assert binance.members(11) == ["ADA-USDT", "DOGE-USDT"]


def test_half_may_go(binance: Project, sim: Simulation) -> None:
    binance.refresh()
    for coin in ("BTC", "ETH", "SOL"):
        del sim.exchange.instruments[f"{coin}-USDT"]
    binance.refresh(day=11)
    assert len(binance.members(11)) == 3


def test_other_conditions_are_a_loss_as_well(binance: Project) -> None:
    binance.refresh()
    binance.write("binance", {"quote": "EUR"})
    with pytest.raises(UniverseRefused, match="only 0 of 6"):
        binance.refresh()


def test_names_that_a_spreadsheet_would_run_are_left_out() -> None:
    source = SourceSettings.model_validate({"name": "s", "provider": "csv", "start": TODAY, "symbols": []})
    found = [listed("A", vendor="=1+1"), listed("B", vendor="\x1b[2J"), listed("C")]
    assert [item.symbol.code for item in choose(found, Discovery(), source)] == ["C"]


@pytest.mark.parametrize(
    "line", ["A,A,,crypto,,,,", "A,A,,crypto,,,2024-01-02,2024-01-01", "=A,,,crypto,,,2024-01-02,", "A,A,,crypto"]
)
def test_a_damaged_universe_is_an_error_that_names_the_line(binance: Project, line: str) -> None:
    binance.refresh()
    with binance.file.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    for use in (lambda: binance.source, binance.refresh):
        with pytest.raises(ConfigError, match=r"s\.csv: line 8"):
            use()


def test_only_discovered_sources_are_refreshed(sim: Simulation, tmp_path: Path) -> None:
    source = SourceSettings.model_validate({"name": "s", "provider": "ccxt", "start": TODAY, "symbols": ["BTC-USD"]})
    with pytest.raises(ConfigError, match="are not discovered"):
        refresh(LakeStore.at(tmp_path), source)


def test_refreshes_at_once_leave_one_whole_file(binance: Project) -> None:
    source = binance.source
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(refresh, binance.store, source, now=NOW) for _ in range(6)]
    joined = sorted(len(item.result().changes) for item in done)
    assert joined == [0, 0, 0, 0, 0, 6]
    assert len(discovered.read(binance.file)) == 6
    assert [path.name for path in binance.file.parent.iterdir()] == ["s.csv"]


# --- five hundred -------------------------------------------------------------------------------------------------------


def test_five_hundred_pairs(tmp_path: Path) -> None:
    codes = [f"C{number:03}-USDT" for number in range(500)]
    with Simulation(symbols=codes) as sim:
        project = Project(tmp_path, sim, "binance", {"quote": "USDT", "top": 400})
        done = project.refresh()
        assert (done.listed, done.known, len(project.codes)) == (500, 400, 400)


# --- laws of merging ----------------------------------------------------------------------------------------------------


def listed(code: str, **options: Any) -> Instrument:
    return Instrument(Symbol.equity(code), options.pop("vendor", code), **options)


LISTS = st.lists(
    st.dictionaries(st.sampled_from("ABCDE"), st.booleans()), min_size=1, max_size=8
)  # of codes, and whether they are active


@given(lists=LISTS, days=st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_merging_keeps_everybody_and_tells_the_truth(lists: list[dict[str, bool]], days: list[int]) -> None:
    known: tuple[Entry, ...] = ()
    day = TODAY
    history: dict[date, set[str]] = {}
    ever: set[str] = set()
    for active, later in zip(lists, days, strict=False):
        day += timedelta(days=later)
        found = [listed(code, active=is_active) for code, is_active in active.items()]
        chosen = [item for item in found if item.active]
        known, _ = merge_list(known, found, chosen, day)
        ever |= {item.symbol.code for item in chosen}
        history[day] = {item.symbol.code for item in chosen}
        again, changes = merge_list(known, found, chosen, day)
        assert (again, changes) == (known, ())
        # Nobody is ever lost, and the file can always be read again.
        assert {entry.code for entry in known} == ever
        stays = discovered.intervals_by_code(known)
        for own in stays.values():
            assert not any(a.overlaps(b) for n, a in enumerate(own) for b in own[n + 1 :])
        listing = {item.code: item.listed_until for item in discovered.symbol_settings(known)}
        assert all((listing[code] is None) == active.get(code, False) for code in ever)
    for when, members in history.items():
        covered = {
            code for code, own in discovered.intervals_by_code(known).items() if any(stay.covers(when) for stay in own)
        }
        assert covered == members


@given(lists=LISTS)
def test_what_was_merged_is_written_and_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, lists: list[dict[str, bool]]
) -> None:
    known: tuple[Entry, ...] = ()
    for number, active in enumerate(lists):
        found = [listed(code, active=is_active) for code, is_active in active.items()]
        known, _ = merge_list(
            known, found, [item for item in found if item.active], TODAY + timedelta(days=number // 2)
        )
    path = tmp_path_factory.mktemp("universe") / "s.csv"
    discovered.write(path, known)
    assert discovered.read(path) == known


def test_the_vendors_own_dates_count() -> None:
    known, _ = merge_list((), [], [listed("A", listed_from=date(2020, 1, 2))], TODAY)
    gone = [listed("A", active=False, listed_from=date(2020, 1, 2), listed_until=date(2024, 3, 1))]
    known, changes = merge_list(known, gone, [], TODAY)
    assert known[0].listed_until == date(2024, 3, 1)
    assert [change.kind for change in changes] == ["left", "delisted"]
    corrected, changes = merge_list(known, [replace(gone[0], listed_until=date(2024, 2, 28))], [], TODAY)
    assert (corrected[0].listed_until, [change.kind for change in changes]) == (date(2024, 2, 28), ["corrected"])
    soon = listed("B", active=False, listed_from=TODAY + timedelta(days=3))
    assert merge_list((), [soon], [soon], TODAY)[0][0].listed_until is None


def test_losses_of_who_had_left_already_do_not_count() -> None:
    gone = [Entry(code, code, "", AssetClass.EQUITY, None, TODAY, TODAY, TODAY) for code in "ABCD"]
    here = Entry("E", "E", "", AssetClass.EQUITY, None, None, TODAY)
    refuse_losses("s", (*gone, here), (*gone, here))
    with pytest.raises(UniverseRefused):
        refuse_losses("s", (*gone, here), (*gone, replace(here, left=TODAY)))


# --- searching ----------------------------------------------------------------------------------------------------------


def test_a_search_finds_codes_spellings_and_names_the_best_first(binance: Project) -> None:
    def found(text: str) -> list[str]:
        return [item.symbol.code for item in find(binance.store, binance.source, text)]

    assert found("btcusdt") == ["BTC-USDT", "BTC-USDT-PERP"]
    assert found("BTC/USDT:USDT") == ["BTC-USDT-PERP"]
    assert found("eth") == ["ETH-USDT"]
    assert found("nothing of the kind") == []
    rows = fetches.read(binance.store.tables, "s").select("kind", "symbol", "received").rows()
    assert rows == [("instruments", "*", 7)] * 4


def test_codes_are_checked_with_the_vendor(binance: Project) -> None:
    answer = look_up(binance.store, binance.source, ["BTC-USDT", "NOPE-USDT"])
    assert answer is not None
    assert answer["BTC-USDT"] is not None
    assert answer["NOPE-USDT"] is None


def test_a_search_that_fails_is_kept_as_well(binance: Project, sim: Simulation) -> None:
    sim.faults.add(match="exchangeInfo", status=503, times=-1)
    with pytest.raises(TransientVendorError):
        find(binance.store, binance.source, "btc")
    assert fetches.read(binance.store.tables, "s")["outcome"].to_list() == ["error"]


def test_markets_without_a_canonical_code_do_not_hide_the_others(
    sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    chinese = replace(sim.exchange.instruments["BTC-USDT"], code="币安人生-USDT")
    sim.exchange.instruments[chinese.code] = chinese

    async def ask() -> list[Instrument]:
        provider = CcxtProvider("binance", base_url=sim.url)
        try:
            return await provider.instruments()
        finally:
            await provider.aclose()

    assert len(asyncio.run(ask())) == 7
    assert "1 markets without a canonical code: 币安人生/USDT" in caplog.text


def test_an_identifier_that_stands_for_a_pair_and_a_perpetual_means_the_one_that_is_asked_for(sim: Simulation) -> None:
    pair, perpetual = Symbol.crypto("BTC-USDT"), Symbol.crypto("BTC-USDT-PERP")
    hour = Window.of(NOW - timedelta(hours=2), NOW - timedelta(hours=1))

    async def closes() -> list[list[str]]:
        provider = CcxtProvider(
            "binance", base_url=sim.url, vendor_symbols={"BTC-USDT": "BTCUSDT", "BTC-USDT-PERP": "BTCUSDT"}
        )
        try:
            await provider.instruments()
            answers = [await provider.fetch_bars(symbol, hour, Resolution.MINUTE) for symbol in (pair, perpetual)]
        finally:
            await provider.aclose()
        return [answer.frame["close"].cast(pl.Decimal(18, 2)).to_list() for answer in answers]

    def served(symbol: Symbol) -> list[Decimal]:
        start, end = (round(moment.timestamp() * 1000) for moment in (hour.start, hour.end))
        return [Decimal(bar.close) for bar in sim.exchange.bars(symbol.code, "1m", start, end - 1, 100)]

    assert asyncio.run(closes()) == [served(pair), served(perpetual)]
    assert served(pair) != served(perpetual)


def test_what_was_asked_is_in_the_ledger_with_its_requests(binance: Project, sim: Simulation) -> None:
    binance.write("binance", {"quote": "USDT", "top": 5})
    binance.refresh()
    sim.faults.add(match="fapi.*exchangeInfo", status=503)
    with pytest.raises(TransientVendorError):
        binance.refresh()
    done, failed = fetches.read(binance.store.tables, "s").to_dicts()
    # Pairs, both kinds of perpetuals, and two lists of turnovers.
    assert [done[name] for name in ("kind", "symbol", "outcome", "received", "calls")] == [
        "instruments",
        "*",
        "ok",
        7,
        5,
    ]
    assert (failed["kind"], failed["outcome"], failed["error"]) == ("instruments", "error", "TransientVendorError")
    assert failed["calls"] >= 1
    assert done["bytes"] > 1000


def test_a_lake_that_cannot_be_written_is_said_before_anybody_is_asked(tmp_path: Path, sim: Simulation) -> None:
    project = Project(tmp_path, sim, "binance", {"quote": "USDT"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/state").write_text("a file where a folder should be", encoding="utf-8")
    before = len(sim.requests)
    with pytest.raises(LakeError, match="cannot be made"):
        project.refresh()
    assert len(sim.requests) == before
