"""Uploads: in parts, resumed, committed once; and files that are not what they say."""

from __future__ import annotations

import base64
import hashlib
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from gb_pipeline import Lake
from gb_pipeline.api.decode import decode
from gb_pipeline.errors import FormatRefused
from gb_pipeline_tests.api.conftest import Ask
from gb_pipeline_tests.api.test_guard import problem
from gb_pipeline_tests.serving import minutes

FRAME = minutes("2024-02-01", 60)
PARTS = {"content-type": "application/offset+octet-stream"}


def encode(frame: pl.DataFrame, format: str) -> bytes:
    written = io.BytesIO()
    if format == "csv":
        frame.write_csv(written)
    elif format == "parquet":
        frame.write_parquet(written)
    else:
        frame.write_ipc_stream(written, compat_level=pl.CompatLevel.oldest())
    return written.getvalue()


def announcement(body: bytes, format: str = "arrow", **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(body).hexdigest()
    bars = {"source": "up", "resolution": "1m", "symbol": "ETH-USD"}
    return {"length": len(body), "sha256": digest, "format": format, **bars, **more}


def announce(client: TestClient, body: bytes, format: str = "arrow", key: str | None = None, **more: Any) -> str:
    headers = {} if key is None else {"idempotency-key": key}
    response = client.post("/v1/uploads", json=announcement(body, format, **more), headers=headers)
    assert response.status_code in {200, 201}, response.text
    return response.headers["location"]


def send(client: TestClient, path: str, part: bytes, offset: int = 0, **headers: str) -> Any:
    return client.patch(path, content=part, headers={**PARTS, "upload-offset": str(offset), **headers})


@pytest.mark.parametrize("format", ["arrow", "parquet", "csv"])
def test_an_upload_in_parts_is_stored_once(ask: Ask, lake: Lake, format: str) -> None:
    client, body = ask("write"), encode(FRAME, format)
    path = announce(client, body, format, key="k1")
    middle = len(body) // 2
    assert send(client, path, body[:middle]).headers["upload-offset"] == str(middle)
    problem(send(client, path, body[middle:]), 409, "WrongOffset")
    problem(client.post(f"{path}/commit"), 409, "UploadIncomplete")
    # Another server of the same lake goes on where this one was.
    client = ask("write")
    client.headers = ask("write").headers
    assert client.head(path).status_code == 404, "another token's upload is none"


def test_a_commit_answers_alike_however_often_it_is_asked(ask: Ask, lake: Lake) -> None:
    client, body = ask("write"), encode(FRAME, "parquet")
    path = announce(client, body, "parquet", key="k1")
    send(client, path, body[:100])
    assert client.head(path).headers["upload-offset"] == "100"
    assert send(client, path, body[100:], 100).status_code == 204
    first = client.post(f"{path}/commit").json()
    assert (first["result"]["stored"], first["result"]["received"]) == (60, 60)
    assert client.post(f"{path}/commit").json() == first
    assert announce(client, body, "parquet", key="k1") == path
    problem(client.post("/v1/uploads", json=announcement(body), headers={"idempotency-key": "k1"}), 409, "KeyUsed")
    problem(send(client, path, b"x", len(body)), 409, "WrongOffset")
    assert lake.bars("ETH-USD", "1m", source="up").height == 60
    assert client.get(f"{path}/sessions").json()["rows"][0]["stored"] == 60
    assert client.get(f"{path}/refused").json()["count"] == 0
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404, "UnknownUpload")
    assert lake.bars("ETH-USD", "1m", source="up").height == 60


def test_a_part_whose_checksum_differs_counts_for_nothing(ask: Ask) -> None:
    client, body = ask("write"), encode(FRAME, "csv")
    path = announce(client, body, "csv")
    right = "sha256 " + base64.b64encode(hashlib.sha256(body[:50]).digest()).decode()
    problem(send(client, path, body[1:51], **{"upload-checksum": right}), 400, "ChecksumMismatch")
    assert client.head(path).headers["upload-offset"] == "0"
    assert send(client, path, body[:50], **{"upload-checksum": right}).status_code == 204
    for wrong in ("md5 abc", "sha256", "sha256 !!!", "sha256 YWJj"):
        problem(send(client, path, body[50:], 50, **{"upload-checksum": wrong}), 400, "WrongChecksum")
    # Other bytes of the same length are found at the commit, and all is sent again.
    assert send(client, path, b"x" * (len(body) - 50), 50).status_code == 204
    problem(client.post(f"{path}/commit"), 422, "ChecksumMismatch")
    assert client.head(path).headers["upload-offset"] == "0"


def test_what_cannot_be_stored_is_refused_before_anything_is_sent(ask: Ask) -> None:
    client = ask("write", most_upload_bytes=1000, most_uploads=2)
    body = b"x" * 10
    problem(client.post("/v1/uploads", json=announcement(body, length=1001)), 413, "TooLarge")
    problem(client.post("/v1/uploads", json=announcement(body, source="../up")), 400, "ConfigError")
    problem(client.post("/v1/uploads", json=announcement(body, symbol="a\x00b")), 400, "InvalidSymbol")
    problem(client.post("/v1/uploads", json=announcement(body, format="zip")), 422, "InvalidRequest")
    path = announce(client, body)
    problem(send(client, path, b"x" * 11), 413, "TooLarge")
    problem(client.patch(path, content=b"x", headers={"upload-offset": "0"}), 415, "UnknownFormat")
    announce(client, body)
    problem(client.post("/v1/uploads", json=announcement(body)), 503, "TooManyUploads")


def test_columns_that_cannot_be_read_are_refused(ask: Ask) -> None:
    client = ask("write")
    header = b"timestamp,open,high,low,close,volume,"
    bodies = {"csv": header + b"\xe9\n2024-02-01T00:00:00Z,1,1,1,1,1,1\n", "arrow": encode(FRAME.head(1), "arrow")}
    months = pa.ipc.open_stream(bodies["arrow"]).read_all()
    months = months.append_column("note", pa.array([(0, 1, 0)], pa.month_day_nano_interval()))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, months.schema) as writer:
        writer.write_table(months)
    bodies["arrow"] = sink.getvalue()
    for format, body in bodies.items():
        path = announce(client, body, format)
        assert send(client, path, body).status_code == 204
        problem(client.post(f"{path}/commit"), 422, "FormatRefused")


@pytest.mark.parametrize("id", ["..", "%2e%2e%2f%2e%2e", "0" * 31, "A" * 32, "0" * 32 + "%00", "../../tokens.json"])
def test_an_id_is_no_path(ask: Ask, id: str) -> None:
    assert ask("write").get(f"/v1/uploads/{id}").status_code in {404, 405, 422}


def test_two_uploads_of_one_window_are_both_told_what_became_of_them(ask: Ask, lake: Lake) -> None:
    client = ask("write")
    other = FRAME.with_columns(close=pl.lit("100.5"), high=pl.lit("200"), low=pl.lit("1"))
    paths = []
    for frame in (FRAME, other):
        body = encode(frame, "arrow")
        paths.append(announce(client, body))
        assert send(client, paths[-1], body).status_code == 204
    results = [client.post(f"{path}/commit").json()["result"] for path in reversed(paths)]
    assert [result["stored"] for result in results] == [60, 60] and results[1]["restated"] == 60
    # The one that was committed last.
    assert lake.bars("ETH-USD", "1m", source="up")["close"].to_list() == [Decimal(text) for text in FRAME["close"]]
    assert lake.restatements("up").height == 60


def parquet_bomb() -> bytes:
    """Twenty million rows in a few kB."""
    written = io.BytesIO()
    pq.write_table(pa.table({"timestamp": pa.nulls(20_000_000, pa.string())}), written, compression="zstd")
    return written.getvalue()


def arrow_bomb() -> bytes:
    """A GB of zeros in a few MB at most."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"timestamp": pa.array([0] * 1_000_000, pa.int64())})
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for _ in range(120):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


LIMITS = {"most_rows": 1_000_000, "most_bytes": 256 << 20}


@pytest.mark.parametrize(("make", "format"), [(parquet_bomb, "parquet"), (arrow_bomb, "arrow")])
def test_a_small_file_that_decodes_to_a_huge_one_is_refused(tmp_path: Path, make: Any, format: str) -> None:
    body = make()
    assert len(body) < 8 << 20
    (tmp_path / "in").write_bytes(body)
    with pytest.raises(FormatRefused, match="more than"):
        decode(tmp_path / "in", tmp_path / "out", format, **LIMITS)


@pytest.mark.parametrize("format", ["arrow", "parquet", "csv"])
@pytest.mark.parametrize("body", [b"\x00", b"PAR1PAR1", b"ARROW1\x00\x00", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"a\n"])
def test_what_is_no_file_of_its_format_is_refused(tmp_path: Path, body: bytes, format: str) -> None:
    (tmp_path / "in").write_bytes(body)
    with pytest.raises(FormatRefused) as refused:
        decode(tmp_path / "in", tmp_path / "out", format, **LIMITS)
    assert refused.value.fix and str(tmp_path) not in str(refused.value)
