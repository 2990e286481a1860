"""Trades, quotes and books as CSV, Parquet and Arrow: what comes back is what went out, digit by digit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.cli.app import run
from gb_pipeline.errors import ConfigError, FormatRefused
from gb_pipeline.formats.streams.exporting import export_streams
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.schema import Precision
from gb_pipeline_tests.streams import SECOND, commit_levels, commit_rows, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
DAY = 86_400 * SECOND
FORMATS = ("streams-csv", "streams-parquet", "streams-arrow")
KRAKEN = [("kraken", "BTC-USD")]
# What an import says itself.
OTHERS = ("source", "collector", "origin")


def trade(at: int, **more: object) -> dict[str, object]:
    return {
        "source": "kraken", "symbol": "BTC-USD", "at": at, "exchange_time": at, "receive_time": at + 7, "side": "buy",
        "price": Decimal("100.5"), "size": Decimal("0.00000001"), "trade_id": str(at), "ordinal": 0, "collector": "one",
        "origin": "stream",
    } | more  # fmt: skip


@pytest.fixture
def heard(lake: Lake) -> Lake:
    """Two days of everything, one trade in the wide table, one fetched afterwards, and one that is not settled."""
    trades = [trade(NINE + number * SECOND + number) for number in range(5)]
    odd = [
        trade(NINE + DAY, side=None, trade_id='a "quoted", id', sequence=2**62),
        trade(NINE + DAY + 1, exchange_time=None, trade_id=None),
        trade(NINE + DAY + 2, receive_time=None, collector=None, origin="rest"),
    ]
    commit_rows(lake.store, stream_dataset("trades"), [*trades, *odd, trade(NINE + DAY + 60 * SECOND)])
    wide = trade(NINE + DAY + 3, price=Decimal("0.000000000000000001"))
    commit_rows(lake.store, stream_dataset("trades", Precision.WIDE), [wide])
    commit_levels(lake.store, "book_snapshots", [NINE])
    commit_levels(lake.store, "book_updates", [NINE + 1, NINE + DAY])
    quote = {"bid_price": Decimal(1), "bid_size": None, "ask_price": Decimal("1.00000001"), "ask_size": Decimal(3)}
    commit_rows(lake.store, stream_dataset("quotes"), [trade(NINE) | quote])
    for dataset in ("trades", "book_updates", "quotes"):
        commit_watermark(lake.store, NINE + DAY + 30 * SECOND, dataset=dataset)
    return lake


def content(lake: Lake, table: str, source: str) -> pl.DataFrame:
    reader = {
        "trades": lake.trades,
        "quotes": lake.quotes,
        "book_updates": lake.l2,
        "book_snapshots": lake.book_snapshots,
    }
    return reader[table](None, source=source).drop(OTHERS, strict=False)


@pytest.mark.parametrize("name", FORMATS)
def test_what_comes_back_is_what_went_out(heard: Lake, tmp_path: Path, name: str) -> None:
    report = export_streams(heard, name, KRAKEN, tmp_path / "out")
    assert (report.is_exact, report.files, report.streams[0].rows["trades"]) == (True, 6, 9)
    again = import_streams(heard, name, tmp_path / "out", source="again")
    assert (again.total.received, again.total.stored, again.whole) == (16, 16, True)
    for table in ("trades", "quotes", "book_updates", "book_snapshots"):
        assert content(heard, table, "again").equals(content(heard, table, "kraken")), table
    assert import_streams(heard, name, tmp_path / "out", source="again").total.stored == 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_dry_run_leaves_nothing_and_a_full_folder_is_refused(heard: Lake, tmp_path: Path, name: str) -> None:
    target = tmp_path / "out"
    would = export_streams(heard, name, KRAKEN, target, dry_run=True)
    assert not target.exists()
    target.mkdir()
    (target / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="not empty"):
        export_streams(heard, name, KRAKEN, target)
    assert [file.name for file in target.rglob("*")] == ["mine"]
    done = export_streams(heard, name, KRAKEN, target, force=True)
    assert (done.files, done.streams[0].rows) == (would.files, would.streams[0].rows)


ROWS = st.tuples(
    st.decimals("0.00000001", "9999999999", places=8),
    st.decimals("0.000000000000000001", "99999999", places=18),
    st.integers(0, 10**9 - 1),
    st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=8),
)


@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(st.lists(ROWS, min_size=1, max_size=40, unique_by=(lambda row: row[2], lambda row: row[3] or row[2])))
def test_every_number_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Decimal, Decimal, int, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    lake = Lake.open(folder / "lake", create=True)
    made = [trade(NINE + at, price=price, size=size, trade_id=name) for price, size, at, name in rows]
    commit_rows(lake.store, stream_dataset("trades", Precision.WIDE), made)
    commit_watermark(lake.store, NINE + DAY)
    for name in FORMATS:
        export_streams(lake, name, KRAKEN, folder / name)
        source = name.replace("-", "_")
        import_streams(lake, name, folder / name, source=source)
        back = content(lake, "trades", source)
        # What fits into eight decimals stands in the other table, the same number.
        wide = back.with_columns(pl.selectors.decimal().cast(pl.Decimal(38, 18)))
        assert wide.equals(content(lake, "trades", "kraken"))


def test_files_of_other_columns_are_named_and_damaged_ones_refused(heard: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "other.csv").write_text("time,price\n1,2\n", encoding="utf-8")
    with pytest.raises(FormatRefused, match=r"other\.csv: its columns are those of no table"):
        import_streams(heard, "streams-csv", folder, source="x")
    (folder / "broken.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(FormatRefused, match=r"broken\.parquet"):
        import_streams(heard, "streams-parquet", folder, source="x")


def test_the_command_writes_them(heard: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(heard.store.storage.root)
    assert run(["export", "streams-parquet", "kraken:BTC-USD", str(tmp_path / "out"), "--lake", root]) == 0
    assert "wrote 6 files" in capsys.readouterr().err
    assert pl.read_parquet(tmp_path / "out/kraken/BTC-USD/quotes/2024-01-02.parquet").height == 1
