"""Whatever a query's filter is, the files that it leaves out hold no row of the answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

import duckdb
import polars as pl
import pytest

from gb_pipeline import BarRules, Lake, Precision

WIDE = BarRules(precision=Precision.WIDE)
BEFORE, AFTER = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
# One is longer than the 32 characters at which many writers cut statistics.
SYMBOLS = ("BTC-USD", "ETH-USD", "BRK.B", "A-VERY-LONG-NAME-OF-A-CONTRACT-Z", "ES_F")
DAYS = ("2023-12-31", "2024-01-01", "2024-02-03", "2024-03-31")
SEEDS = range(4)
FILTERS = 50


@pytest.fixture
def mixed(lake, write) -> Lake:
    """Sources, gaps, restated and wide bars by the minute, and days whose files hold many symbols."""
    for number, symbol in enumerate(SYMBOLS):
        for day in DAYS[number % 2 :]:
            write("kraken", symbol, day, ["1.5", f"{number + 1}.25", "1.7"], now=BEFORE)
            write("kraken", symbol, day, ["1.5", "2"], resolution="1d", days=2)
    write("coinbase", "ETH-USD", DAYS[0], ["2.5"])
    write("kraken", "BTC-USD", DAYS[2], ["1.5", "9.5", "1.7"], now=AFTER)
    write("kraken", "ETH-USD", DAYS[2], ["1.123456789", "1.6", "1.7"], rules=WIDE)
    write("kraken", "BTC-USD", DAYS[1], ["3", "2"], resolution="1d", days=2)
    return lake


def _make_filter(pick: random.Random, depth: int = 2) -> str:
    """A random condition on columns of bars."""
    if depth and pick.random() < 0.6:
        left, right = (_make_filter(pick, depth - 1) for _ in range(2))
        return pick.choice([f"({left} and {right})", f"({left} or {right})", f"not ({left})"])
    moment = (
        f"2024-{pick.choice(['01-01', '02-03', '03-31'])} {pick.choice(['00:00', '00:01', '00:01:00.000001', '23:59'])}"
    )
    zoned = pick.choice([f"'{moment}'", f"'{moment}+02'", f"timestamptz '{moment}-05:30'", f"timestamp '{moment}'"])
    day, symbol, other = pick.choice(DAYS), pick.choice(SYMBOLS), pick.choice(SYMBOLS)
    compare = pick.choice(["<", "<=", "=", ">=", ">", "<>", "is distinct from", "is not distinct from"])
    return pick.choice([
        f"timestamp {compare} {zoned}", f"{zoned} {compare} timestamp", f"timestamp between '{day}' and {zoned}",
        f"timestamp::date {compare} date '{day}'", f"timestamp in ('{day}', {zoned})", f"timestamp not in ('{day}', null)",
        f"cast(timestamp as varchar) like '{day}%'", f"timestamp + interval 1 day {compare} {zoned}",
        f"year(timestamp) {compare} 2024", f"date_trunc('month', timestamp) {compare} '{day[:7]}-01'",
        f"epoch_us(timestamp) {compare} 1704067200000000", f"(timestamp at time zone 'Asia/Tokyo')::date {compare} date '{day}'",
        f"symbol {compare} '{symbol}'", f"symbol in ('{symbol}', '{other}', '')", f"symbol not in ('{symbol}')",
        f"symbol like '{symbol[:3]}%'", "symbol like '%\\_F' escape '\\'", f"symbol ilike '{symbol.lower()}'",
        f"symbol between '{symbol}' and '{other}'", f"starts_with(symbol, '{symbol[:2]}')", f"symbol || '' = '{symbol}'",
        "symbol similar to '[A-E].*'", f"symbol = (select max(symbol) from {{table}} where source {compare} 'kraken')",
        f"source {compare} 'coinbase'", "source is null", "symbol is not null", "null", "true", f"close {compare} 2.25",
        f"close::double {compare} 1.7", f"volume is null or symbol {compare} '{symbol}'", f"superseded_at {compare} {zoned}",
        "superseded_at is null", "superseded_at is not null", f"known_at {compare} '2024-06-15'", f"known_at {compare} {zoned}",
        f"coalesce(symbol = '{symbol}', false)", f"(symbol, timestamp) {compare[:2].strip()} ('{symbol}', timestamptz '{day}')"
        if compare in {"<", "<=", "=", ">=", ">", "<>"} else "true",
        f"case when symbol = '{symbol}' then timestamp > '{day}' else close > 2 end",
        f"timestamp >= (select min(timestamp) from {{table}} where symbol = '{symbol}')",
    ])  # fmt: skip


SHAPES: tuple[Callable[[str], str], ...] = (
    lambda condition: f"select * from {{table}} where {condition}",
    lambda condition: f"with b as (from {{table}}) select symbol, count(*) from b where {condition} group by all",
    lambda condition: (
        f"select * from (select *, lag(close) over (partition by source, symbol order by timestamp, known_at)"
        f" from {{table}}) where {condition}"
    ),
    lambda condition: (
        f"select a.symbol, a.timestamp, b.source from (from {{table}} where {condition}) a"
        " left join {table} b using (symbol, timestamp)"
    ),
    lambda condition: f"select symbol from {{table}} where {condition} union all select symbol from {{table}}",
    lambda condition: f"select count(*), max(timestamp), min(symbol) from {{table}} where {condition}",
    lambda condition: (
        f"select * from {{table}} o where exists (from {{table}} i where i.symbol = o.symbol and {condition})"
    ),
)


def test_a_filter_never_loses_a_row(mixed):
    tables = ("bars_1m", "bars_1m_history", "bars_1d", "bars_1d_history", "best_bars_1m")
    with duckdb.connect() as plain:
        plain.execute("set timezone = 'UTC'")
        for table in tables:
            plain.register(table, mixed.sql(f"select * from {table}").to_arrow())
        for seed in SEEDS:
            pick = random.Random(seed)
            found = 0
            for _ in range(FILTERS):
                table = pick.choice(tables)
                query = pick.choice(SHAPES)(_make_filter(pick)).replace("{table}", table)
                expected = _rows(plain, query)
                if expected is None:
                    continue
                assert sorted(map(repr, mixed.sql(query).rows())) == expected, query
                found += bool(expected)
            assert found > FILTERS // 4, seed


def _rows(plain: duckdb.DuckDBPyConnection, query: str) -> list[str] | None:
    """The answer over all rows in memory; None where the query is none."""
    try:
        frame = pl.DataFrame(pl.from_arrow(plain.sql(query).to_arrow_table()))
    except duckdb.BinderException:
        return None
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return sorted(map(repr, frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC")).rows()))
