"""What the page's scripts are answered: the same as `Lake` says, in windows, and our two sentences where something is wrong."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline.api.page.frames import to_json
from gb_pipeline_tests.hostile_names import SYMBOLS

DATA = "/v1/page"
PATHS = (
    "about", "lake", "series", "facts?source=coinbase&symbol=BTC-USD&resolution=1m", "coverage?source=coinbase&resolution=1m",
    "streams", "rows?source=coinbase&resolution=1m", "candles?source=coinbase&symbol=BTC-USD&resolution=1m", "gaps",
    "restatements", "quarantine", "actions",
)  # fmt: skip


def ask(client, path: str, **query) -> dict:
    answer = client.get(f"{DATA}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_for_no_cache_and_runs_nothing(client, path):
    answer = client.get(f"{DATA}/{path}")

    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_any_window_of_rows_is_that_of_all_bars(client, lake):
    everything = lake.bars(None, "1m", source="coinbase", columns=["symbol", "timestamp", "close"])

    for offset, limit in ((0, 5), (1495, 40), (4290, 30), (4299, 3), (len(everything) - 2, 10), (len(everything), 5)):
        found = ask(client, "rows", source="coinbase", resolution="1m", offset=offset, limit=limit)
        names = [column["name"] for column in found["columns"]]
        rows = [(row[names.index("symbol")], Decimal(row[names.index("close")])) for row in found["rows"]]
        assert rows == everything.slice(offset, limit).select("symbol", "close").rows(), offset
        assert (found["total"], found["offset"]) == (len(everything), offset)


def test_many_short_series_in_a_window_are_as_all_bars_too(lake, tmp_path, serve_rows):
    small = lake.open(tmp_path, create=True)
    frame = pl.DataFrame(
        {"symbol": [f"S{number:03}" for number in range(40)], "timestamp": ["2024-01-02"] * 40, "open": "1.5", "high": "2",
         "low": "1", "close": [f"1.{number:02}" for number in range(40)], "volume": "10"}
    ).with_columns(pl.col("timestamp").str.to_date())  # fmt: skip
    small.put(frame, source="many", resolution="1d")

    found = serve_rows(small, "many", None, "1d", 7, 20)

    assert [row[0] for row in found["rows"]] == [f"S{number:03}" for number in range(7, 27)]


@pytest.fixture
def serve_rows():
    from gb_pipeline.api.page.rows import read_rows
    from gb_pipeline.api.page.session_index import SessionIndexes
    from gb_pipeline.market.resolution import Resolution

    return lambda lake, source, symbol, resolution, offset, limit: read_rows(
        lake, SessionIndexes(lake), source, symbol, Resolution.parse(resolution), offset, limit
    )


def test_rows_that_are_written_meanwhile_are_seen(tmp_path, lake, serve_rows):
    from gb_pipeline_tests.bars import minutes

    small = lake.open(tmp_path, create=True)
    small.put(minutes("2024-01-02", 10), source="sim", resolution="1m")
    assert serve_rows(small, "sim", None, "1m", 0, 100)["total"] == 10
    small.put(minutes("2024-01-03", 10), source="sim", resolution="1m")
    assert serve_rows(small, "sim", None, "1m", 0, 100)["total"] == 20


def test_candles_are_the_newest_bars_before_a_moment_with_what_happened_to_them(client, lake):
    bars = lake.bars("BTC-USD", "1m", source="coinbase", as_float=True)
    series = {"source": "coinbase", "symbol": "BTC-USD", "resolution": "1m"}

    newest = ask(client, "candles", **series, count=100)
    before = ask(client, "candles", **series, count=100, before=newest["time"][0])

    assert newest["close"] == bars["close"].tail(100).to_list()
    assert before["close"] == bars["close"].slice(len(bars) - 200, 100).to_list()
    assert newest["more"] and before["more"]
    assert [row[2] for row in newest["restatements"]["rows"]] == ["140.25"]
    assert newest["gaps"]["total"] == 0
    assert ask(client, "candles", **series, count=5000)["gaps"]["rows"][0][2] == 20
    assert not ask(client, "candles", **series, count=5000)["more"]


def test_longer_candles_are_those_of_the_lake(client, lake):
    hours = lake.bars("BTC-USD", "1m", source="coinbase", as_float=True, resample="1h")

    found = ask(client, "candles", source="coinbase", symbol="BTC-USD", resolution="1m", shown="1h", count=30)

    assert found["high"] == hours["high"].tail(30).to_list()


def test_what_was_known_at_a_moment_is_shown_as_it_was(client, lake):
    series = {"source": "coinbase", "symbol": "BTC-USD", "resolution": "1m"}
    then = "2024-02-02T00:00:00Z"

    found = ask(client, "candles", **series, as_of=then, count=5000)

    assert found["close"] == lake.bars("BTC-USD", "1m", source="coinbase", as_float=True, as_of=then)["close"].to_list()
    assert found["restatements"]["total"] == 0
    assert ask(client, "restatements", as_of=then)["total"] == 0
    assert ask(client, "restatements")["total"] == 1


def test_splits_and_dividends_are_adjusted_for_and_told(client, lake):
    days = lake.bars("AAPL", "1d", source="mine", as_float=True, adjustment="splits")

    found = ask(client, "candles", source="mine", symbol="AAPL", resolution="1d", adjustment="splits")

    assert found["close"] == days["close"].to_list()
    assert [row[1] for row in found["actions"]["rows"]] == ["split", "cash_dividend"]


def test_series_are_found_by_words(client):
    assert ask(client, "series")["total"] == 3
    assert [row[1] for row in ask(client, "series", search="BTC 1m")["rows"]] == ["BTC-USD"]
    assert ask(client, "series", search="btc aapl")["total"] == 0
    assert len(ask(client, "series", offset=1, limit=1)["rows"]) == 1


def test_the_coverage_map_counts_what_is_open(client):
    found = ask(client, "coverage", source="coinbase", resolution="1m")

    assert found["symbols"] == ["BTC-USD", "ETH-USD"]
    assert found["rows"][1] == "242"
    assert {cell["name"]: cell["count"] for cell in found["cells"]}["gaps unexplained"] >= 2
    assert ask(client, "coverage", source="coinbase", resolution="1h")["rows"] == []


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("rows", {"source": "coinbase"}, 400, "names no resolution"),
        ("rows", {"source": "coinbase", "resolution": "1x"}, 400, "not a resolution"),
        ("rows", {"source": "coinbase", "resolution": "1m", "offset": "-1"}, 400, "not a whole number"),
        ("rows", {"source": "coinbase", "resolution": "1m", "offset": "9" * 40}, 400, "not a whole number"),
        ("rows", {"source": "nobody", "resolution": "1m"}, 404, "nobody"),
        ("facts", {"source": "coinbase", "symbol": "NOPE", "resolution": "1m"}, 404, "NOPE"),
        (
            "candles",
            {"source": "coinbase", "symbol": "BTC-USD", "resolution": "1m", "before": "9" * 30},
            400,
            "no time",
        ),
        ("gaps", {"as_of": "yesteryear"}, 400, "yesteryear"),
        ("gaps", {"start": "2024-01-02 10:00"}, 400, "zone"),
    ],
)
def test_what_is_wrong_is_said_in_two_sentences(client, path, query, status, words):
    answer = client.get(f"{DATA}/{path}", params=query)

    assert answer.status_code == status
    assert words in answer.json()["detail"] and answer.json()["fix"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("symbol", [name for name in SYMBOLS if name and name.isprintable() and len(name) < 1000])
@pytest.mark.parametrize("path", ["facts", "candles", "rows", "gaps"])
def test_names_that_nothing_can_have_are_not_found(client, path, symbol):
    answer = client.get(f"{DATA}/{path}", params={"source": "coinbase", "resolution": "1m", "symbol": symbol})

    assert answer.status_code in {400, 404} and answer.json()["fix"], answer.text


def test_no_digit_and_no_time_is_lost_in_json():
    frame = pl.DataFrame(
        {"price": [Decimal("0.000000010000000001"), Decimal("1200"), None], "share": [float("nan"), 0.5, float("inf")]},
        schema_overrides={"price": pl.Decimal(38, 18)},
    )

    assert to_json(frame)["rows"] == [("0.000000010000000001", None), ("1200", 0.5), (None, None)]
