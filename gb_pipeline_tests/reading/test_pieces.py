"""One question cut into pieces, answered by whoever: in this process, after pickling, and by two workers of Dask."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import BarsPiece, ConfigError, DamagedFile, Lake, NoDataInRange, UnknownSeries
from gb_pipeline_tests.bars import SetClock, at, day, minutes

RANGE = ("2024-01-01T06:00Z", "2024-01-04T18:30Z")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three symbols, of which one is stored by two sources, and one has a single bar."""
    lake = Lake.open(tmp_path_factory.mktemp("lake") / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    for code in ("ADA-USD", "BTC-USD"):
        frames = [minutes(f"2024-01-0{number}", 1440, symbol=code, base=50 * number) for number in (1, 2, 3, 4)]
        lake.write_bars("sim", code, "1m", day("2024-01-01", 4), pl.concat(frames))
    lake.write_bars("other", "BTC-USD", "1m", day("2024-01-02", 2), minutes("2024-01-03", 700))
    lake.write_bars("sim", "XRP-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 1, symbol="XRP-USD"))
    return lake


def together(pieces: list[BarsPiece]) -> pl.DataFrame:
    return pl.concat([piece.read() for piece in pieces], how="vertical")


@pytest.mark.parametrize("most_rows", [1, 1500, 6000, 1_000_000])
@pytest.mark.parametrize(
    "options", [{}, {"as_float": True, "columns": ["symbol", "timestamp", "close"]}, {"source": "sim"}]
)
def test_together_they_are_the_answer(filled: Lake, most_rows: int, options: dict[str, Any]) -> None:
    for symbols in (["XRP-USD", "BTC-USD", "ADA-USD"], "BTC-USD", None):
        if symbols is None and "source" not in options:
            continue
        pieces = filled.pieces(symbols, "1m", *RANGE, most_rows=most_rows, **options)
        assert_frame_equal(together(pieces), filled.bars(symbols, "1m", *RANGE, **options))


def test_small_series_share_a_piece_and_large_ones_are_cut_by_days(filled: Lake) -> None:
    assert len(filled.pieces(None, "1m", source="sim")) == 1
    pieces = filled.pieces(["BTC-USD", "XRP-USD"], "1m", source="sim", most_rows=1500)
    assert [piece.symbols for piece in pieces] == [("BTC-USD",)] * 4 + [("XRP-USD",)]
    assert [piece.start.time() == datetime.min.time() for piece in pieces[1:4]] == [True] * 3
    assert max(piece.read().height for piece in pieces) == 1440


def test_what_is_written_after_they_were_cut_changes_none(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "data", create=True)
    lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-01", 2), minutes("2024-01-01", 2880))
    before, pieces = lake.bars("BTC-USD", "1m"), lake.pieces("BTC-USD", "1m", most_rows=1000)
    lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 1440, base=500))
    assert_frame_equal(together(pieces), before)
    again = lake.pieces("BTC-USD", "1m", as_of=before["known_at"].max())
    assert_frame_equal(together(again), before)
    assert not together(lake.pieces("BTC-USD", "1m")).equals(before)


def test_what_cannot_be_answered_is_refused_before_anybody_works(filled: Lake) -> None:
    with pytest.raises(UnknownSeries, match="BTC-USX"):
        filled.pieces("BTC-USX", "1m")
    with pytest.raises(NoDataInRange):
        filled.pieces("BTC-USD", "1m", "2030-01-01")
    with pytest.raises(ConfigError, match="resample cannot be chosen"):
        filled.pieces("BTC-USD", "1m", resample="1h")
    with pytest.raises(ConfigError, match="pieces of 0 rows"):
        filled.pieces("BTC-USD", "1m", most_rows=0)


def test_damage_is_found_by_whoever_reads_the_piece(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "data", create=True)
    lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-01"), minutes("2024-01-01", 1440))
    [piece] = lake.pieces("BTC-USD", "1m")
    [file] = (tmp_path / "data" / "lake" / "bars_1m").rglob("*.parquet")
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedFile):
        pickle.loads(pickle.dumps(piece)).read()


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two processes of Dask on this machine."""
    import dask
    from distributed import Client, LocalCluster

    folder = tmp_path_factory.mktemp("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "120s", "dataframe.convert-string": False}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=str(folder)
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2, timeout=120)
        yield client


def test_two_workers_of_dask_give_the_same_answer(filled: Lake, workers: Any) -> None:
    import dask.dataframe as dd

    pieces = filled.pieces(["ADA-USD", "BTC-USD"], "1m", *RANGE, source="sim", most_rows=1500, as_float=True)
    frame = dd.from_map(BarsPiece.read_pandas, pieces)
    assert frame.npartitions == len(pieces) == 8

    expected = filled.bars(["ADA-USD", "BTC-USD"], "1m", *RANGE, source="sim", as_float=True)
    assert_frame_equal(pl.from_pandas(frame.compute()).cast(expected.schema), expected)
    highest = frame.groupby("symbol")["high"].max().compute()
    assert highest.to_dict() == dict(expected.group_by("symbol").agg(pl.col("high").max()).iter_rows())


def test_both_workers_read_and_decimals_stay_exact(filled: Lake, workers: Any) -> None:
    pieces = filled.pieces("BTC-USD", "1m", source="sim", most_rows=1500)
    read = workers.map(lambda piece: (os.getpid(), piece.read()["close"].sum()), pieces, pure=False)
    answers = workers.gather(read)
    assert sum((total for _, total in answers), Decimal(0)) == filled.bars("BTC-USD", "1m", source="sim")["close"].sum()
    assert not {process for process, _ in answers} & {os.getpid()}
