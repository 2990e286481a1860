"""Several sources have a symbol and none is named: who answers, in Python, in SQL and in a plain DuckDB, now and then."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import strategies as st

from gb_pipeline import Adjustment, BarRules, Lake, LakeStore, ReadError, Resolution, Window
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline_tests.bars import SetClock, at
from gb_pipeline_tests.laws.law import law

SOURCES = ("alpha", "beta", "gamma")
START = at("2024-01-01")
HOURS = 72
NOW = at("2024-06-01")


def bars(symbol: str, hours: set[int]) -> pl.DataFrame:
    stamps = pl.Series([START + timedelta(hours=hour) for hour in sorted(hours)], dtype=pl.Datetime("us", "UTC"))
    prices = {name: pl.repeat("1.5", len(stamps), eager=True) for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame({"symbol": pl.repeat(symbol, len(stamps), eager=True), "timestamp": stamps, **prices})


def fill(store: LakeStore, source: str, symbol: str, hours: set[int]) -> None:
    window = Window(START, START + timedelta(hours=HOURS))
    store.write_bars(source, symbol, Resolution.HOUR, window, bars(symbol, hours))


Held = dict[tuple[str, str], set[int]]
HELD = st.dictionaries(
    st.tuples(st.sampled_from(SOURCES), st.sampled_from(["A", "B"])),
    # Hours around midnight of UTC.
    st.sets(st.sampled_from([0, 1, 22, 23, 24, 25, 46, 47, 48, 70]), min_size=1),
    min_size=1,
)


def expected(held: Held, order: list[str]) -> list[tuple[str, str, datetime]]:
    """Source, symbol and timestamp of every bar, by the rule as the guide says it."""
    days: dict[tuple[str, int], dict[str, set[int]]] = defaultdict(dict)
    for (source, symbol), hours in held.items():
        for hour in hours:
            days[symbol, hour // 24].setdefault(source, set()).add(hour)
    ranked = [*order, *sorted(set(SOURCES) - set(order))]
    rows = []
    for (symbol, _), by_source in days.items():
        best = min(by_source, key=ranked.index)
        rows += [(best, symbol, START + timedelta(hours=hour)) for hour in by_source[best]]
    return sorted(rows, key=lambda row: (row[1], row[2]))


@law(HELD, HELD, st.permutations(SOURCES), st.integers(0, 3), st.integers(0, HOURS), few=3)
def test_python_and_sql_give_each_bar_once_from_the_same_source(
    held: Held, later: Held, order: list[str], named: int, cut: int
) -> None:
    """Also in a part of a day, lazily, as of a moment before more was stored, and in a DuckDB of somebody else."""
    order = order[:named]
    with tempfile.TemporaryDirectory() as folder:
        clock = SetClock(NOW)
        store = LakeStore.at(folder, clock=clock)
        for (source, symbol), hours in held.items():
            fill(store, source, symbol, hours)
        clock.now = then = NOW + timedelta(days=1)
        clock.now += timedelta(days=1)
        both = {key: held.get(key, set()) | later.get(key, set()) for key in {**held, **later}}
        for source, symbol in later:
            fill(store, source, symbol, both[source, symbol])
        refresh_catalog(store, facts=[SourceFacts(name) for name in order])
        # Opened alone, it knows the order from the catalog.
        lake = Lake.open(folder)
        columns = ["source", "symbol", "timestamp"]
        select = f"select {', '.join(columns)} from"
        for moment, rows, table in (
            (None, expected(both, order), "best_bars_1h"),
            (then, expected(held, order), f"best_bars_1h_as_of(timestamptz '{then.isoformat()}')"),
        ):
            asked = None if moment is None else sorted({symbol for _, symbol in held})
            assert lake.bars(asked, "1h", columns=columns, as_of=moment).rows() == rows
            assert lake.scan_bars(asked, "1h", columns=columns, as_of=moment).collect().rows() == rows
            assert lake.sql(f"{select} {table} order by 2, 3").rows() == rows
            edge = START + timedelta(hours=cut)
            part = [row for row in rows if row[2] >= edge]
            assert lake.scan_bars(asked, "1h", edge, columns=columns, as_of=moment).collect().rows() == part
            with duckdb.connect(str(Path(folder) / "catalog.duckdb"), read_only=True) as connection:
                connection.execute("set TimeZone = 'Pacific/Auckland'")
                query = f"select source, symbol, epoch_us(timestamp) from {table} order by 2, 3"
                plain = [
                    (a, b, START + timedelta(microseconds=c - 1704067200000000))
                    for a, b, c in connection.execute(query).fetchall()
                ]
                assert plain == rows
        shown = lake.sql(f"{select} best_bars_1h order by 2, 3", as_of=then)
        assert shown.rows() == expected(held, order)


def test_a_source_that_is_named_answers_alone(lake, write):
    write("kraken", "BTC-USD", "2024-01-02", ["1.5", "1.6"])
    write("coinbase", "BTC-USD", "2024-01-02", ["2.5"])
    assert lake.bars("BTC-USD", "1m")["source"].to_list() == ["coinbase"]
    assert lake.bars("BTC-USD", "1m", source="kraken")["source"].to_list() == ["kraken"] * 2
    assert lake.sql("select count(*) from best_bars_1m").item() == 1


def test_the_order_of_gb_yaml_counts_and_a_priority_before_it(tmp_path, write, lake):
    write("kraken", "BTC-USD", "2024-01-02", ["1.5"], resolution="1d")
    write("coinbase", "BTC-USD", "2024-01-02", ["2.5"], resolution="1d")
    config = tmp_path / "gb.yaml"
    body = "{{provider: ccxt, start: 2024-01-01, symbols: [BTC-USD]{}}}"

    def answers(*sources: str) -> list[str]:
        config.write_text("lake: data\nsources:\n" + "".join(f"  {line}\n" for line in sources), encoding="utf-8")
        opened = Lake.open(config)
        opened.sql("from sources")
        in_sql = opened.sql("select source from best_bars_1d")["source"].to_list()
        # Whoever opens the folder alone is told by the catalog.
        alone = Lake.open(tmp_path / "data").bars("BTC-USD", "1d")["source"].to_list()
        assert in_sql == alone == opened.bars("BTC-USD", "1d")["source"].to_list()
        return in_sql

    plain = body.format("")
    assert answers(f"kraken: {plain}", f"coinbase: {plain}") == ["kraken"]
    assert answers(f"coinbase: {plain}", f"kraken: {plain}") == ["coinbase"]
    assert answers(f"coinbase: {plain}", f"kraken: {body.format(', priority: 1')}") == ["kraken"]
    # A source that gb.yaml does not name any more comes last.
    assert answers(f"coinbase: {plain}") == ["coinbase"]


def test_prices_of_one_symbol_are_never_adjusted_on_some_days_and_raw_on_others(lake, received):
    for source, kind, start in (("alpha", Adjustment.RAW, "2024-01-02"), ("yahoo", Adjustment.SPLIT, "2024-01-03")):
        rules = BarRules(resolution=Resolution.DAY, adjustment=kind)
        window = Window.of(start, "2024-01-05")
        days = (window.end - window.start).days
        rows = received(start, ["1.5", "1.6", "1.7"][:days], step=timedelta(days=1))
        lake.write_bars(source, "AAPL", "1d", window, rows, rules=rules)
    # One of them has all days: nothing is mixed.
    assert set(lake.bars("AAPL", "1d")["source"]) == {"alpha"}
    refresh_catalog(lake.store, facts=[SourceFacts("yahoo")])
    with pytest.raises(ReadError, match=r"raw from alpha, split from yahoo"):
        lake.bars("AAPL", "1d")
    assert lake.bars("AAPL", "1d", "2024-01-03")["source"].unique().to_list() == ["yahoo"]
