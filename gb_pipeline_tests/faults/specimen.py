"""A small lake with everything in it, the questions that can be asked of it, and copies that can be damaged.

Copies share their files with the lake by hard links: a lake never changes a file in place, and what is to be damaged is made anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import SetClock, changed, day, minutes

SOURCE = "sim"
FIRST, SECOND, WIDE = "AAA-USD", "BBB-USD", "CCC-USD"
_BEGIN = datetime(2024, 3, 1, tzinfo=UTC)
LEARNT = _BEGIN + timedelta(hours=1)
DAYS = 40

Answer = pl.DataFrame | Exception
Answers = Mapping[str, Answer]


@dataclass(frozen=True)
class Specimen:
    """A lake in a folder, which is never changed."""

    root: Path

    @cached_property
    def answers(self) -> Answers:
        """What it says."""
        return ask(self.root)

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The files that it needs, by kind, relative to its root; not those that only older versions needed."""
        found: dict[str, list[Path]] = {}
        tables = LakeStore.at(self.root).tables
        live = {Path("lake", item.dataset.name, name) for item in tables.existing() for name in item.files["path"]}
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            kind = kind_of(name) if path.is_file() else ""
            if kind and (name in live or not kind.startswith("data")):
                found.setdefault(kind, []).append(name)
        return found

    def copy(self, target: Path, *, own: tuple[Path, ...] = ()) -> Path:
        """A copy; files in `own` are its own."""
        shutil.copytree(self.root, target, copy_function=os.link, ignore=shutil.ignore_patterns("state"))
        for name in own:
            (target / name).unlink()
            shutil.copyfile(self.root / name, target / name)
        return target


def kind_of(name: Path) -> str:
    """What a file is for, such as `data bars_1m`, `entry sessions` or `catalog`; empty where it holds nothing."""
    match name.parts:
        case ("lake", table, "_delta_log", "_last_checkpoint"):
            return f"pointer {table}"
        case ("lake", table, "_delta_log", "_checkpoint.seal") | ("log", table, "checkpoint.json"):
            return f"seal {table}"
        case ("lake", table, "_delta_log", _):
            return f"{'checkpoint' if name.name.endswith('.checkpoint.parquet') else 'entry'} {table}"
        case ("lake", table, *_):
            return f"data {table}"
        case ("log", table, _):
            return f"mirror {table}"
        case ("catalog.duckdb",):
            return "catalog"
    return ""


def settled(root: Path) -> Specimen:
    """A lake whose ledger and catalog are up to date; some tables have a checkpoint and entries after it."""
    clock = SetClock(_BEGIN)
    store = LakeStore.at(root, clock=clock)
    _minutes(store)
    _others(store)
    clock.now = LEARNT
    for name in ("bars_1m", "bars_1d", "sessions"):
        refresh_catalog(store)
        store.tables[name].checkpoint()
    clock.now += timedelta(hours=1)
    _changes(store)
    refresh_catalog(store)
    return Specimen(root)


def fresh(root: Path) -> Specimen:
    """A lake that was just written: entries of bars carry what the ledger has not taken over, the catalog is older."""
    made = settled(root)
    clock = SetClock(LEARNT + timedelta(hours=2))
    store = LakeStore.at(root, clock=clock)
    for symbol in (FIRST, SECOND):
        _write(store, symbol, minutes("2024-02-03", symbol=symbol), day("2024-02-03"))
    return made


def many_sessions(root: Path) -> Specimen:
    """A lake of so many sessions in one commit that it carries what the ledger is to say as files."""
    _daily(LakeStore.at(root, clock=SetClock(_BEGIN)), date(2020, 1, 1), 400)
    return Specimen(root)


def _daily(store: LakeStore, first: date, days: int) -> None:
    window, symbols = Window.of(first, first + timedelta(days=days)), [FIRST, SECOND, WIDE]
    rows = pl.concat([minutes(str(first), days, symbol=symbol, step=86_400) for symbol in symbols])
    store.write_bars(SOURCE, symbols, Resolution.DAY, window, rows, rules=BarRules(resolution=Resolution.DAY))


def _minutes(store: LakeStore) -> None:
    for symbol, base in ((FIRST, 100), (SECOND, 500)):
        for start in ("2024-01-30", "2024-02-01"):
            _write(store, symbol, _varied(minutes(start, 2880, symbol=symbol, base=base)), day(start, 2))
    wide = BarRules(precision=Precision.WIDE)
    _write(store, WIDE, _varied(minutes("2024-02-01", 1440, symbol=WIDE)), day("2024-02-01"), wide)


def _others(store: LakeStore) -> None:
    _daily(store, date(2023, 12, 1), DAYS)
    actions = received(split("2024-01-15", "2", symbol=FIRST), split("2024-01-16", "3", symbol=SECOND))
    store.write_actions(SOURCE, [FIRST, SECOND], (date(2024, 1, 1), date(2024, 2, 1)), actions)
    window = day("2024-01-30", 2)
    store.record_fetches(
        [
            fetches.FetchRecord(
                SOURCE, symbol, "1m", window.start, window.end, _BEGIN, fetches.FetchOutcome.OK, received=2880
            )
            for symbol in (FIRST, SECOND)
        ]
    )


def _changes(store: LakeStore) -> None:
    """Restated, withdrawn and refused rows."""
    for symbol, base in ((FIRST, 100), (SECOND, 500)):
        frame = _varied(minutes("2024-01-31", 1440, symbol=symbol, base=base)).with_columns(pl.format("{}7", "volume"))
        _write(store, symbol, changed(frame, 5, high="1.0"), day("2024-01-31"))
        gone = _varied(minutes("2024-02-01", 2880, symbol=symbol, base=base)).slice(10, 1430)
        _write(store, symbol, gone, day("2024-02-01"))
    rows = minutes("2023-12-10", 5, symbol=FIRST, step=86_400, base=7)
    store.write_bars(
        SOURCE, FIRST, Resolution.DAY, day("2023-12-10", 5), rows, rules=BarRules(resolution=Resolution.DAY)
    )


def _varied(frame: pl.DataFrame) -> pl.DataFrame:
    """Volumes that do not compress to nothing, as in earnest."""
    number = pl.int_range(pl.len(), dtype=pl.UInt64) * 2_654_435_761 % 10**12
    return frame.with_columns(pl.format("{}.{}", number // 10**6, number % 10**6).alias("volume"))


def _write(store: LakeStore, symbol: str, frame: pl.DataFrame, window: Window, rules: BarRules | None = None) -> None:
    store.write_bars(SOURCE, symbol, Resolution.MINUTE, window, frame, rules=rules)


_ALL = ["symbol", "timestamp", "open", "high", "low", "close", "volume", "withdrawn", "fetched_at", "known_at"]
QUESTIONS: dict[str, Callable[[Lake], pl.DataFrame]] = {
    **{
        f"{symbol} 1m": lambda lake, symbol=symbol: lake.bars(symbol, "1m", source=SOURCE, columns=_ALL)
        for symbol in (FIRST, SECOND, WIDE)
    },
    **{
        f"{symbol} 1m as of": lambda lake, symbol=symbol: lake.bars(
            symbol, "1m", source=SOURCE, columns=_ALL, as_of=LEARNT
        )
        for symbol in (FIRST, SECOND)
    },
    **{
        f"{symbol} 1m sql": lambda lake, symbol=symbol: lake.sql(
            f"select timestamp, close, volume from bars_1m where symbol = '{symbol}' order by 1"
        )
        for symbol in (FIRST, SECOND)
    },
    "1d": lambda lake: lake.bars(None, "1d", source=SOURCE, columns=_ALL),
    "1d as of": lambda lake: lake.bars(None, "1d", source=SOURCE, columns=_ALL, as_of=LEARNT),
    "1d sql": lambda lake: lake.sql("select symbol, timestamp, close from bars_1d order by 1, 2"),
    "catalog": lambda lake: lake.sql(
        "select symbol, resolution, session, actual, fingerprint from coverage order by all"
    ),
    "catalog files": lambda lake: lake.sql("select * from files order by path"),
    "coverage 1m": lambda lake: lake.coverage(resolution="1m"),
    "coverage 1m as of": lambda lake: lake.coverage(resolution="1m", as_of=LEARNT),
    "coverage 1d": lambda lake: lake.coverage(resolution="1d"),
    "gaps": lambda lake: lake.gaps(),
    "symbols": lambda lake: lake.symbols().drop("created_at", "updated_at"),
    "quarantine": lambda lake: lake.quarantine(),
    "withdrawn": lambda lake: lake.withdrawn(),
    "restatements": lambda lake: lake.restatements(),
    "actions": lambda lake: lake.corporate_actions(),
    "fetches": lambda lake: fetches.read(lake.store.tables),
}


# These open a catalog, which takes as long as all others together.
BY_SQL = [name for name in QUESTIONS if "sql" in name or "catalog" in name]
NOT_BY_SQL = [name for name in QUESTIONS if name not in BY_SQL]


def ask(root: Path, questions: Iterable[str] = QUESTIONS) -> Answers:
    """The answer to each question, or the error; anything but an error of the lake is raised."""
    lake = Lake(LakeStore.at(root, clock=SetClock(LEARNT + timedelta(days=1))))
    return {name: _answer(lake, QUESTIONS[name]) for name in questions}


def _answer(lake: Lake, question: Callable[[Lake], pl.DataFrame]) -> Answer:
    try:
        return question(lake)
    except LakeError as error:
        return error
