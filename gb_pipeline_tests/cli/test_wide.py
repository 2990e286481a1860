"""`precision: wide` from gb.yaml to every answer: a coin of fifteen decimals, and volumes beyond what a standard bar holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage.compaction import find_candidates
from gb_pipeline_tests.cli.console import Gb

COIN, MAJOR = "BABYDOGE-USDT", "BTC-USDT"
SERIES = f"sim:{COIN}"
PROJECT = """
lake: data
sources:
  sim:
    provider: ccxt
    options: {exchange: binance, base_url: "BASE_URL"}
    asset_class: crypto
    start: 2024-01-02
    end: 2024-01-04
    symbols: [BABYDOGE-USDT, BTC-USDT]
    resolutions: [1m]
    precision: wide
    max_bad_fraction: 0.1
    keep_raw: true
    retries: 0
"""
BAD = "0.0000000000000000001"  # nineteen decimals
CONTENT = ["open", "high", "low", "close", "volume"]


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    """An exchange that has one value with more decimals than any bar holds."""
    with Simulation(symbols=[COIN, MAJOR]) as simulation:
        simulation.plant("bad", COIN, start="2024-01-02T12:00Z", values={"low": BAD})
        yield simulation


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory, simulation: Simulation) -> Path:
    """A project after `gb update`, and after the vendor has restated a bar."""
    from gb_pipeline.cli.app import run

    folder = tmp_path_factory.mktemp("wide")
    (folder / "gb.yaml").write_text(PROJECT.replace("BASE_URL", simulation.url), encoding="utf-8")
    assert run(["update", "--config", str(folder)]) == 0
    simulation.plant("restatement", COIN, start="2024-01-02T14:00Z", values={"volume": "12345678901234567.5"})
    assert run(["fetch", SERIES, "--again", "--config", str(folder)]) == 0
    return folder


@pytest.fixture
def project(updated: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(updated, tmp_path / "project")


def served(simulation: Simulation) -> pl.DataFrame:
    """What the exchange says now of the coin's two days, in its own units."""
    start = 1704153600000
    bars = [
        bar
        for first in (start, start + 86_400_000)
        for part in (0, 43_200_000)
        for bar in simulation.exchange.bars(COIN, "1m", first + part, first + part + 43_199_999, 1000)
    ]
    rows = [(bar.start, *(Decimal(getattr(bar, name)) for name in CONTENT)) for bar in bars if bar.low != BAD]
    decimal = pl.Decimal(38, 18)
    schema = {"timestamp": pl.Int64(), **dict.fromkeys(CONTENT, decimal)}
    stamps = pl.col("timestamp").cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit("us")
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(stamps)


def test_bars_are_what_the_exchange_serves_digit_by_digit_however_they_are_read(
    updated: Path, simulation: Simulation, gb: Gb, tmp_path: Path
) -> None:
    lake, truth = Lake.open(updated), served(simulation)
    bars = lake.bars(COIN, "1m")
    assert truth.height == 2879 and max(truth["low"].cast(pl.String).str.strip_chars_end("0").str.len_chars()) == 17
    assert bars.select("timestamp", *CONTENT).equals(truth)
    assert lake.sql(f"select timestamp, {', '.join(CONTENT)} from bars_1m where symbol = '{COIN}' order by 1").equals(
        truth
    )
    for kind in ("parquet", "csv"):
        file = tmp_path / f"bars.{kind}"
        assert gb("export", SERIES, file, "--config", updated).code == 0
        types = dict.fromkeys(CONTENT, pl.String())
        read = pl.read_parquet(file) if kind == "parquet" else pl.read_csv(file, schema_overrides=types)
        assert read.select(pl.col(CONTENT).cast(pl.Decimal(38, 18))).equals(truth.select(CONTENT))
    hours = truth.group_by_dynamic("timestamp", every="1h").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    assert lake.bars(COIN, "1m", resample="1h").select("timestamp", *CONTENT).equals(hours)
    # The coin of another size in the same table.
    assert lake.bars(MAJOR, "1m")["close"].dtype == pl.Decimal(38, 18)


def test_what_was_refused_restated_and_known_before_has_all_its_digits(updated: Path, gb: Gb) -> None:
    lake = Lake.open(updated)
    [refused] = lake.quarantine("sim", COIN).to_dicts()
    assert "too_precise" in refused["reasons"] and BAD in refused["row"]
    [gap] = lake.gaps("sim", COIN).to_dicts()
    assert (gap["missing"], gap["reason"]) == (1, "unknown")
    [change] = lake.restatements("sim", COIN).to_dicts()
    assert change["new_volume"] == Decimal("12345678901234567.5")
    before = lake.bars(COIN, "1m", as_of=change["first_known"]).filter(pl.col("timestamp") == change["timestamp"])
    assert before["volume"].item() == change["old_volume"]
    assert lake.sql("select new_volume from restatements").item() == change["new_volume"]
    assert sorted(lake.changes("-1d")["kind"].unique()) == ["added", "restated"]
    found = gb("explain", SERIES, "2024-01-02T14:00Z", "--config", updated, "--json").json
    assert found["delivered"]["verdict"] == "agrees"
    assert found["bar"]["volume"] == found["delivered"]["content"]["volume"] == "12345678901234567.5"
    assert gb("replay", "sim", "--config", updated).code == 0


def test_corrected_pinned_compacted_vacuumed_copied_and_verified(project: Path, gb: Gb, tmp_path: Path) -> None:
    lake = Lake.open(project)
    assert gb("pin", "before", SERIES, "-r", "1m", "--config", project).code == 0
    pinned = lake.bars(COIN, "1m")
    bar = pinned.filter(pl.col("timestamp") == pl.datetime(2024, 1, 2, 9, time_zone="UTC")).to_dicts()[0]
    told = gb(
        "override",
        SERIES,
        "2024-01-02T09:00Z",
        "-r",
        "1m",
        "--volume",
        "0.000000000000000001",
        "--reason",
        "dust",
        "--config",
        project,
    )
    assert told.code == 0
    assert gb("fetch", SERIES, "--again", "--config", project).code == 0
    corrected = lake.bars(COIN, "1m", "2024-01-02T09:00Z", "2024-01-02T09:01Z")
    assert (corrected["volume"].item(), corrected["close"].item()) == (Decimal("0.000000000000000001"), bar["close"])
    fingerprint = gb("fingerprint", SERIES, "-r", "1m", "--config", project, "--json").json
    assert gb("compact", "--all", "--config", project).code == 0
    assert all(
        item.files == 1
        for item in find_candidates(LakeStore.at(project / "data").tables, min_files=1)
        if "bars" in str(item)
    )
    assert gb("vacuum", "--retention", "1h", "--delete", "--config", project).code == 0
    copy, restored = tmp_path / "copy", tmp_path / "restored"
    assert gb("backup", copy, "--config", project).code == 0
    assert gb("restore", copy, "--lake", restored, "--config", project).code == 0
    for place in (project / "data", restored):
        assert gb("verify", "--lake", place, "--config", project).code == 0
        assert gb("fingerprint", SERIES, "-r", "1m", "--lake", place, "--config", project, "--json").json == fingerprint
        there = Lake.open(place)
        assert there.replay("before").bars(COIN, "1m").equals(pinned)
        assert there.bars(COIN, "1m").equals(lake.bars(COIN, "1m"))


def test_a_series_goes_from_standard_to_wide_and_not_back(simulation: Simulation, gb: Gb, tmp_path: Path) -> None:
    wide = PROJECT.replace("BASE_URL", simulation.url)
    (tmp_path / "gb.yaml").write_text(wide.replace("precision: wide", "precision: standard"), encoding="utf-8")
    told = gb("update", "--config", tmp_path)
    # The coin does not fit and is refused, never rounded; what it would take is said.
    assert told.code == 1
    lake = Lake.open(tmp_path)
    assert set(lake.coverage("sim", COIN)["status"]) == {"refused"}
    assert "precision: wide" in told.err
    major = lake.bars(MAJOR, "1m")
    known = lake.coverage("sim", MAJOR)["known_at"].max()
    assert major["close"].dtype == pl.Decimal(18, 8)
    (tmp_path / "gb.yaml").write_text(wide, encoding="utf-8")
    assert gb("update", "--config", tmp_path).code == 0
    assert lake.bars(COIN, "1m").height == 2879
    # What did fit is the same bar: it is not stored once more, and nothing of it counts as restated.
    assert gb("fetch", f"sim:{MAJOR}", "--again", "--config", tmp_path).code == 0
    assert lake.bars(MAJOR, "1m").select(CONTENT).equals(major.select(CONTENT))
    both = lake.bars([COIN, MAJOR], "1m")
    assert both["close"].dtype == pl.Decimal(38, 18)
    assert (
        both.filter(pl.col("symbol") == MAJOR)
        .select(pl.col(CONTENT).cast(pl.Decimal(18, 8)))
        .equals(major.select(CONTENT))
    )
    assert lake.restatements("sim", MAJOR).is_empty()
    assert lake.bars(MAJOR, "1m", as_of=known).select(CONTENT).equals(major.select(CONTENT))
    (tmp_path / "gb.yaml").write_text(wide.replace("precision: wide", "precision: standard"), encoding="utf-8")
    narrower = gb("fetch", SERIES, "--again", "--config", tmp_path)
    assert narrower.code == 1 and "wide precision" in narrower.err and "precision: wide" in narrower.err
    told = gb("verify", "--config", tmp_path)
    assert told.code == 0, told.out
