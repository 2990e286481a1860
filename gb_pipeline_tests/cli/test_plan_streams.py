"""`gb plan` of streams: what they add in a month, by what was heard of them, else by public recordings."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_trades

STREAMS = {
    "kraken": {
        "venue": "kraken",
        "symbols": ["BTC-USD", "ETH-USD"],
        "datasets": ["trades", "book_updates"],
        "depth": 10,
    },
    "elsewhere": {"venue": "kalshi", "series": ["KXBTC"]},
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    source = {"provider": "ccxt", "asset_class": "crypto", "start": "2024-01-01", "symbols": ["BTC-USD"]}
    streams = STREAMS | {"both": deepcopy(STREAMS["kraken"])}
    raw = {"lake": "data", "collect": {"streams": streams}, "sources": {"both": source}}
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return tmp_path


def test_what_was_never_heard_is_estimated_from_recordings_or_not_known(gb: Gb, project: Path) -> None:
    told = gb("plan", "kraken", "elsewhere", "--json", "-c", project)
    assert told.code == 0
    feeds = {(feed["source"], feed["table"]): feed for feed in told.json["feeds"]}
    assert feeds["kraken", "trades"]["rows_per_day"] == pytest.approx(2 * 0.6 * 86_400)
    assert feeds["kraken", "book_snapshots"]["rows_per_day"] == 2 * 20 * 144
    assert feeds["elsewhere", "trades"]["rows_per_day"] is None
    assert told.json["bytes_per_month"] == round(sum(feed["bytes_per_month"] or 0 for feed in feeds.values()))
    assert not (project / "data").exists()
    table = gb("plan", "elsewhere", "-c", project)
    assert "not known before it was heard" in table.out
    assert "at least 0 B a month" in table.err


def test_what_was_heard_is_measured_in_covered_time_and_holes_make_it_no_smaller(gb: Gb, project: Path) -> None:
    store = LakeStore.at(project / "data")
    end = int(datetime.now(UTC).timestamp()) * SECOND
    begin = end - 7200 * SECOND
    commit_trades(store, range(begin, begin + 1800 * SECOND, SECOND))
    commit_interval(store, begin, begin + 1800 * SECOND)
    told = gb("plan", "kraken", "--json", "-c", project).json
    trades = told["feeds"][0]
    # One a second of one instrument; the other counts as much.
    assert trades["rows_per_day"] == pytest.approx(2 * 86_400)
    assert trades["because"] == "measured in up to 0.5 h of 1 instruments"
    stored = store.tables.newest("trades").files
    assert trades["bytes_per_row"] == pytest.approx(stored["size"].sum() / stored["rows"].sum())
    assert trades["bytes_per_month"] == pytest.approx(trades["rows_per_day"] * trades["bytes_per_row"] * 30)
    # Two instruments and a log, of three tables, every hour.
    assert told["files_per_month"] == 720 * 9
    assert gb("plan", "kraken", "--price", "0", "--json", "-c", project).json["dollars_of_a_month"] == 0


def test_a_name_of_a_source_of_bars_means_that_unless_streams_are_asked_for(gb: Gb, project: Path) -> None:
    assert "feeds" in gb("plan", "both", "--streams", "--json", "-c", project).json
    wrong = gb("plan", "krakn", "--streams", "-c", project)
    assert (wrong.code, "did you mean kraken?" in wrong.err) == (2, True)
