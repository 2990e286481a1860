"""No text of a caller reaches a path, SQL or another series: it is a name that a lake can hold, or it is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, GbError, InvalidSymbol
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import source_name, symbol_code
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import SetClock, day, minutes
from gb_pipeline_tests.laws.law import law

SOURCE, SYMBOL = "sim", "BTC-USD"
# The first one deleted every other series of the window.
HOSTILE = [
    "sim' OR source <> '", "sim' or '1'='1", "sim\" or \"1\"=\"1", "sim; drop table bars_1m", "sim--", "sim/*", "%", "_", "*",
    "..", ".", "../..", "A/B", "/etc/passwd", "a\\b", "C:\\x", "sim\x00", "sim\n", "sim ", " sim", "", "~", "$HOME", "`id`",
    "CON", "NUL.txt", "com1", "btc-usd", "BTC-USD.", "BTC-USD ", "ВТС-USD", "BTC‐USD", "source=sim", "%2e%2e", "a" * 300,
    "symbol=X/period=2024-01", "is_current=true", "__HIVE_DEFAULT_PARTITION__", "null", "None", "true",
]  # fmt: skip
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=40) | st.text(alphabet="./\\'\"-_%= ABCabc\x00\n", max_size=12)
FRAME = minutes("2024-01-02", 3)
RULES = BarRules()
NOW = datetime(2024, 3, 1, tzinfo=UTC)


@contextmanager
def lake_with_another_series() -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder:
        store = LakeStore.at(Path(folder) / "lake", clock=SetClock(NOW))
        store.write_bars(SOURCE, SYMBOL, Resolution.MINUTE, day("2024-01-02"), FRAME)
        store.write_actions(
            SOURCE, SYMBOL, (date(2024, 1, 1), date(2025, 1, 1)), received(split("2024-06-03", "2", symbol=SYMBOL))
        )
        yield Lake(store)


def valid(text: str) -> tuple[bool, bool]:
    """Whether it is a name of a source, and a code of a symbol."""
    return _accepts(source_name, text), _accepts(symbol_code, text)


def _accepts(check: Callable[[str], str], text: str) -> bool:
    try:
        return check(text) == text
    except (ConfigError, InvalidSymbol):
        return False


def state(lake: Lake) -> tuple[object, ...]:
    """The other series, and every file that there is, in the lake and beside it."""
    root = lake.store.storage.root
    files = sorted(str(path.relative_to(root.parent)) for path in root.parent.rglob("*") if "locks" not in path.parts)
    bars = lake.bars(SYMBOL, "1m", source=SOURCE).rows()
    return bars, lake.coverage(SOURCE, SYMBOL).rows(), lake.corporate_actions(SYMBOL, source=SOURCE).rows(), files


WRITES: dict[str, Callable[[LakeStore, str, str], object]] = {
    "bars": lambda store, source, symbol: store.write_bars(
        source, symbol, Resolution.MINUTE, day("2024-01-02"), FRAME.with_columns(pl.lit(symbol).alias("symbol"))
    ),
    "no bars": lambda store, source, symbol: store.write_bars(
        source, symbol, Resolution.MINUTE, day("2024-01-02"), FRAME.drop("symbol").clear()
    ),
    "failure": lambda store, source, symbol: store.record_failure(source, [symbol], day("2024-01-02"), rules=RULES),
    "actions": lambda store, source, symbol: store.write_actions(
        source, symbol, (date(2024, 1, 1), date(2025, 1, 1)), received(split("2024-06-03", "2", symbol=symbol))
    ),
}


@law(TEXTS, st.sampled_from(sorted(WRITES)), st.sampled_from(["source", "symbol"]), few=60)
def test_a_name_that_a_lake_cannot_hold_is_refused_and_touches_nothing(text: str, entry: str, place: str) -> None:
    is_source, is_symbol = valid(text)
    names = (text, SYMBOL) if place == "source" else (SOURCE, text)
    with lake_with_another_series() as lake:
        before = state(lake)
        if is_source if place == "source" else is_symbol:
            WRITES[entry](lake.store, *names)
            after = state(lake)
            assert after[:3] == before[:3] or names == (SOURCE, SYMBOL)
            folders = {Path(name).parts[:2] for name in after[3]}  # type: ignore[attr-defined]
            assert folders <= {("lake",), *(("lake", name) for name in ("lake", "log", "state", "gb_lake.json"))}
        else:
            with pytest.raises(ConfigError if place == "source" else InvalidSymbol):
                WRITES[entry](lake.store, *names)
            assert state(lake) == before


READS: dict[str, Callable[[Lake, str | None, str], object]] = {
    "bars": lambda lake, source, symbol: lake.bars(symbol, "1m", source=source),
    "bars as of": lambda lake, source, symbol: lake.bars(symbol, "1m", source=source, as_of=NOW),
    "scan": lambda lake, source, symbol: lake.scan_bars(symbol, "1m", source=source).collect(),
    "coverage": lambda lake, source, symbol: lake.coverage(source, symbol),
    "gaps": lambda lake, source, symbol: lake.gaps(source, symbol),
    "quarantine": lambda lake, source, symbol: lake.quarantine(source, symbol),
    "restatements": lambda lake, source, symbol: lake.restatements(source, symbol),
    "withdrawn": lambda lake, source, symbol: lake.withdrawn(source, symbol),
    "actions": lambda lake, source, symbol: lake.corporate_actions(symbol, source=source),
}


@law(TEXTS, st.sampled_from(sorted(READS)), st.sampled_from(["source", "symbol"]), few=60)
def test_a_name_that_nobody_stored_finds_nothing_and_changes_nothing(text: str, entry: str, place: str) -> None:
    with lake_with_another_series() as lake:
        before = state(lake)
        names = (text, SYMBOL) if place == "source" else (SOURCE, text)
        if names != (SOURCE, SYMBOL):
            with pytest.raises(GbError):
                READS[entry](lake, *names)
        assert state(lake) == before
