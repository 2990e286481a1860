"""Tables over HTTP: the formats, what is too large for one, and answers that are sent piece by piece."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

from gb_pipeline import Lake
from gb_pipeline.api.downloads import plan_bars
from gb_pipeline.api.formats import Format, even, respond
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.config.cache import CacheOptions
from gb_pipeline.errors import GbError
from gb_pipeline.reading.pieces import BarsPiece
from gb_pipeline_tests.api.conftest import Ask
from gb_pipeline_tests.api.test_guard import problem
from gb_pipeline_tests.serving import minutes

BARS = "/v1/bars?symbols=BTC-USD&resolution=1m"


def read(body: bytes, format: str) -> pl.DataFrame:
    if format == "parquet":
        return pl.DataFrame(pl.from_arrow(pq.read_table(io.BytesIO(body))))
    return pl.DataFrame(pl.from_arrow(pa.ipc.open_stream(body).read_all()))


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_bars_arrive_as_they_are_in_the_lake(ask: Ask, lake: Lake, format: str) -> None:
    for client in (ask(), ask(piece_rows=100)):
        response = client.get(f"{BARS}&format={format}")
        assert response.status_code == 200
        assert_frame_equal(read(response.content, format), lake.bars("BTC-USD", "1m"))


def test_json_keeps_every_digit_and_csv_every_row(ask: Ask, lake: Lake) -> None:
    row = ask().get(f"{BARS}&end=2024-01-02T00:01Z").json()["rows"][0]
    assert (row["close"], row["timestamp"], row["vwap"]) == ("100.00000000", "2024-01-02T00:00:00Z", None)
    text = ask(piece_rows=100).get(f"{BARS}&format=csv").text
    assert text.count("source,symbol") == 1
    told = pl.read_csv(text.encode(), infer_schema=False)
    assert told["close"].to_list() == [format(close, "f") for close in lake.bars("BTC-USD", "1m")["close"]]


def test_the_header_accept_chooses_the_format_and_the_question_overrules_it(ask: Ask) -> None:
    client = ask()
    for accept, sent in {
        "application/vnd.apache.arrow.stream": "application/vnd.apache.arrow.stream",
        "text/csv, */*": "text/csv; charset=utf-8",
        "*/*": "application/json",
    }.items():
        assert client.get(f"{BARS}&end=2024-01-02T00:01Z", headers={"accept": accept}).headers["content-type"] == sent
    problem(client.get(BARS, headers={"accept": "image/png"}), 406, "NotAcceptable")
    assert client.get(f"{BARS}&format=csv", headers={"accept": "image/png"}).status_code == 200


def test_a_document_asks_what_an_address_asks(ask: Ask) -> None:
    document = {"symbols": ["BTC-USD"], "resolution": "1m", "end": "2024-01-02T00:05Z"}
    asked = ask().post("/v1/bars", json=document).json()
    assert asked == ask().get(f"{BARS}&end=2024-01-02T00:05Z").json() and asked["count"] == 5


def test_json_is_for_small_answers(ask: Ask) -> None:
    told = problem(ask(most_json_rows=100).get(BARS), 413, "TooManyRows")
    assert "format=arrow" in told["fix"]
    assert ask(most_json_rows=1440).get(BARS).json()["count"] == 1440


@pytest.mark.parametrize(
    "question",
    [
        "symbols=BTC-US&resolution=1m", "symbols=BTC-USD&resolution=1m&start=2030-01-01", "symbols=BTC-USD&resolution=1x",
        "symbols=BTC-USD&resolution=1m&format=arrow&start=yesterdayish", "symbols=BTC-USD&resolution=1m&adjustment={}[",
    ],
)  # fmt: skip
def test_what_the_lake_refuses_is_a_problem_in_its_two_sentences(ask: Ask, lake: Lake, question: str) -> None:
    response = ask().get(f"/v1/bars?{question}")
    told = problem(response, response.status_code, response.json()["kind"])
    assert 400 <= response.status_code < 500
    assert str(lake.store.storage.root) not in response.text and told["type"] == f"urn:gb:problem:{told['kind']}"


def test_what_is_no_keyword_is_refused(ask: Ask) -> None:
    told = problem(ask().get(f"{BARS}&sideways=1"), 422, "InvalidRequest")
    assert "sideways" in told["detail"]
    problem(ask().post("/v1/bars", content=b"{", headers={"content-type": "application/json"}), 422, "InvalidRequest")


def test_bars_that_are_resampled_cannot_be_cut_and_are_bounded(ask: Ask) -> None:
    assert ask().get(f"{BARS}&resample=1h").json()["count"] == 24
    problem(ask(most_held_rows=1000).get(f"{BARS}&resample=1h"), 413, "TooManyRows")


def test_pieces_are_the_answer_also_where_one_symbol_has_wide_numbers(lake: Lake) -> None:
    lake.put(minutes("2024-01-02", 1440), source="sim", resolution="1m", symbol="SHIB-USD", precision="wide")
    whole = lake.bars(None, "1m", source="sim")
    options = ServeOptions(piece_rows=400)
    frames = list(plan_bars(lake, {"resolution": "1m", "source": "sim"}, options).frames(0))
    assert len(frames) == 2 and max(frame.height for frame in frames) <= 1440
    assert_frame_equal(pl.concat(frames), whole)


@pytest.mark.parametrize("sizes", [[], [10, 20], [1 << 16], [(1 << 20) + 1, 3, 1 << 16, 5], [7] * 20_000])
def test_parts_are_sent_in_sizes_that_suit_the_socket_without_another_byte(sizes: list[int]) -> None:
    parts = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    sent = list(even(parts))
    assert b"".join(sent) == b"".join(parts)
    assert all(0 < len(part) <= 1 << 18 for part in sent) and len(sent) <= 2 * sum(sizes) // (1 << 16) + 1


def test_a_download_that_is_small_is_kept_and_a_large_one_pushes_nothing_out(lake: Lake) -> None:
    lake.put(minutes("2024-01-03", 1440), source="sim", resolution="1m", symbol="BTC-USD")
    question = {"symbols": ["BTC-USD"], "resolution": "1m"}
    for megabytes, hits in ((64, True), (0.4, False)):
        kept = Lake.open(lake.store.storage.root, cache=CacheOptions(memory_mb=megabytes))
        for _ in range(2):
            frames = list(plan_bars(kept, question, ServeOptions(piece_rows=1440)).frames(0))
            assert [frame.height for frame in frames] == [1440, 1440]
        assert (kept.cache.hits > 0) == hits, megabytes


def test_no_more_than_two_pieces_are_read_before_they_are_taken(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.put(minutes("2024-01-03", 1440 * 9), source="sim", resolution="1m", symbol="BTC-USD")
    read_pieces: list[Any] = []

    plain = BarsPiece.read

    def counted(piece: BarsPiece, reader: Any = None) -> pl.DataFrame:
        read_pieces.append(piece)
        return plain(piece, reader)

    monkeypatch.setattr(BarsPiece, "read", counted)
    frames = plan_bars(lake, {"symbols": ["BTC-USD"], "resolution": "1m"}, ServeOptions(piece_rows=1440)).frames(0)
    next(frames)
    assert len(read_pieces) <= 2
    frames.close()
    assert len(read_pieces) <= 3


def written(frame: pl.DataFrame, format: Format) -> bytes:
    async def drain() -> bytes:
        response = respond([frame], format, most_json_rows=0)
        return b"".join([part async for parts in response.body_iterator for part in parts])  # type: ignore[attr-defined]

    return asyncio.run(drain())


def test_values_of_every_kind_have_a_form_in_every_format() -> None:
    frame = pl.DataFrame(
        {
            "decimal": [Decimal("0.10"), None],
            "zero": [Decimal("0.00000000"), Decimal("-0.00000001")],
            "moment": [datetime(2024, 1, 2, tzinfo=UTC), None],
            "number": [float("nan"), 1.5],
            "list": [["a", "b"], None],
            "parts": [{"a": 1}, {"a": None}],
            "nested": [[{"a": float("inf"), "b": [float("nan"), 1.5]}], None],
            "bytes": [b"\x00\xff", None],
            "lasted": [timedelta(seconds=1.5), None],
            "text": ['=1+1,"', "\n"],
        }
    )
    body = json.loads(respond([frame], Format.JSON, most_json_rows=2).body)
    assert body["rows"][0] == {
        "decimal": "0.10", "zero": "0.00000000", "moment": "2024-01-02T00:00:00Z", "number": None, "list": ["a", "b"],
        "parts": {"a": 1}, "nested": [{"a": None, "b": [None, 1.5]}], "bytes": "00ff", "lasted": 1.5, "text": '=1+1,"',
    }  # fmt: skip
    csv = pl.read_csv(written(frame, Format.CSV), infer_schema=False).row(0, named=True)
    assert (csv["bytes"], csv["lasted"], csv["list"], csv["zero"]) == ("00ff", "1.5", '["a","b"]', "0.00000000")
    for format in (Format.ARROW, Format.PARQUET):
        assert read(written(frame, format), format)["zero"].equals(frame["zero"])
    with pytest.raises(Problem):
        respond([frame], Format.JSON, most_json_rows=1)


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'", "attach '/tmp/x.db'", "copy bars_1m to '/tmp/x'",
        "install httpfs", "load httpfs", "pragma database_list", "set memory_limit='1TB'", "select getenv('HOME')",
        "select * from glob('/*')", "select 1; drop table x", "call pragma_version()", "export database '/tmp/x'",
        "select * from read_blob('/etc/shadow')", "create table x as select 1", "select\x00 1", "", "🜁", "(" * 5000,
        "with x as (copy (select 1) to '/tmp/x') select 1", "select * from query('drop table x')", "checkpoint", "vacuum",
        "explain analyze copy (select 1) to '/tmp/x'", "prepare x as select 1", "use memory", "begin transaction",
    ],
)  # fmt: skip
def test_sql_reads_the_lake_and_nothing_else(asking_sql: TestClient, query: str) -> None:
    response = asking_sql.post("/v1/sql", json={"query": query})
    told = problem(response, 400, response.json()["kind"])
    assert "root:" not in told["detail"] and "/etc" not in told["detail"]


@pytest.mark.parametrize(
    ("query", "kind", "formats"),
    [
        ("select 'infinity'::timestamp as t", "NotAcceptable", ["json", "csv"]),
        ("select ['ab'::blob] as b", "NotAcceptable", ["csv"]),
        ("select [interval 1 day] as i", "ReadError", ["json", "csv", "arrow", "parquet"]),
    ],
)
def test_what_a_format_has_no_form_for_is_refused_before_anything_is_sent(
    asking_sql: TestClient, query: str, kind: str, formats: list[str]
) -> None:
    for format in formats:
        response = asking_sql.post("/v1/sql", json={"query": query, "format": format})
        problem(response, 400 if kind == "ReadError" else 406, kind)


UNBOUNDED = (
    "select range(1000000000)", "select 1, range(1000000000)", "select [1] is distinct from range(1000000000)",
    "select (1000000000).range()", "select 'x'.repeat(2000000000)", "select lpad('x', 2000000000, 'y')",
    "select main.generate_series(1, 1000000000)", "select printf('%1000000000d', 1)", "select repeat/* */('x', 2000000000)",
    "select levenshtein(symbol, symbol) from bars_1m", "select repeat ('x', 2000000000)", "select list_resize([1], 2000000000)",
    """select "Repeat"('x', 2000000000)""",
)  # fmt: skip


def test_sql_makes_no_single_value_that_takes_all_memory(asking_sql: TestClient) -> None:
    for query in UNBOUNDED:
        told = problem(asking_sql.post("/v1/sql", json={"query": query}), 400, "ReadError")
        assert "any memory and time" in told["detail"], query
    fine = "select sum(range) as n from range(3) join generate_series(1, 2) on true"
    assert asking_sql.post("/v1/sql", json={"query": fine}).json()["rows"] == [{"n": "6"}]


def test_sql_is_bounded_in_time_rows_and_memory(ask: Ask) -> None:
    client = ask("sql", sql_seconds=0.3, sql_rows=100, sql_bytes=1 << 27)
    long = "select count(*) from range(100000000) a cross join range(100000) b where a.range * b.range % 7 = 3"
    assert "longer than 0.3 s" in problem(client.post("/v1/sql", json={"query": long}), 400, "ReadError")["detail"]
    rows = client.post("/v1/sql", json={"query": "select * from bars_1m"})
    assert "more than 100 rows" in problem(rows, 400, "ReadError")["detail"]
    large = "select string_agg(md5(range::varchar), '') from range(100000000)"
    problem(client.post("/v1/sql", json={"query": large}), 400, "ReadError")
    assert client.post("/v1/sql", json={"query": "select count(*) as n from bars_1m"}).json()["rows"] == [{"n": 1440}]


def test_an_error_in_the_middle_breaks_the_stream_off_instead_of_ending_it() -> None:
    def frames() -> Any:
        yield pl.DataFrame({"a": [1]})
        raise GbError("damaged")

    response = respond(frames(), Format.ARROW, most_json_rows=1)

    async def drain() -> bytes:
        return b"".join([part async for part in response.body_iterator])  # type: ignore[attr-defined]

    with pytest.raises(GbError):
        asyncio.run(drain())
