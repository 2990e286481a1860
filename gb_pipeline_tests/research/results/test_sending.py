"""The way of runs between machines: what arrives is what was sent, and what is wrong with it is found there."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, FormatRefused, GbError, NaiveTimestamp, WindowRefused
from gb_pipeline.research.results import BacktestRun, PinnedData
from gb_pipeline.research.results.prepared import PreparedRun, prepare
from gb_pipeline.research.results.receiving import receive_runs
from gb_pipeline.research.results.sending import SCHEMA, encode_runs
from gb_pipeline_tests.research.results.runs import DAY, DAYS, little, make_run
from gb_pipeline_tests.research.results.test_saving import values

LIMITS = {"most_values": 1_000, "most_document": 1 << 20}


def send(*runs: BacktestRun) -> list[bytes]:
    return list(encode_runs((run, prepare(run, DAY)) for run in runs))


def receive(data: bytes, **limits: int) -> list[PreparedRun]:
    return receive_runs(data, DAY, **{**LIMITS, **limits})


def assert_arrives(*runs: BacktestRun) -> None:
    for run, arrived in zip(runs, receive(send(*runs)[0]), strict=True):
        sent = prepare(run, DAY)
        # NaN is itself here, and a float no integer.
        assert repr((arrived.row, arrived.artifacts)) == repr((sent.row, sent.artifacts))
        assert all(part.equals(sent.parts[name]) for name, part in arrived.parts.items())


def test_every_part_arrives() -> None:
    pin = PinnedData("p", DAY, "f" * 64, "1d", DAY, None, {"mine:BTC-USD": "a" * 64})
    nothing = pl.DataFrame({"timestamp": DAYS, "curve": [None] * 4})
    categories = pl.Series(["a", "b", "a", "b"], dtype=pl.Categorical)
    fills = pl.DataFrame(
        {"timestamp": DAYS, "symbol": categories, "quantity": pl.Series([1] * 4, dtype=pl.UInt8), "price": 0.1}
    )
    assert_arrives(
        replace(make_run(), data=[pin]),
        little("s", "1", "empty", equity=nothing.clear(), fills=fills.clear(), metrics={"none": float("nan")}),
        little("s", "1", "null", equity=nothing, fills=fills, state="failed", error="it broke"),
        little(
            "s",
            "1",
            "date",
            equity=pl.DataFrame({"timestamp": DAYS.dt.date(), "x": pl.Series([1] * 4, dtype=pl.Float32)}),
        ),
    )


@given(
    parameters=st.dictionaries(st.text("abc", min_size=1), values, max_size=4),
    metrics=st.dictionaries(
        st.text("abc", min_size=1), st.floats() | st.integers(-(10**19), 10**19) | st.just(Decimal("0.10")), max_size=4
    ),
    floats=st.lists(st.floats(), min_size=4, max_size=4),
    artifacts=st.dictionaries(st.text("abc", min_size=1), st.binary(max_size=20), max_size=3),
)
@settings(max_examples=8)
def test_what_arrives_is_what_was_sent(
    parameters: dict[str, Any], metrics: dict[str, Any], floats: list[float], artifacts: dict[str, bytes]
) -> None:
    equity = pl.DataFrame({"timestamp": DAYS, "equity": floats})
    run = little("s", "1", "a", parameters=parameters, metrics=metrics, artifacts=artifacts, equity=equity)
    assert receive(send(run)[0])[0].digest == prepare(run, DAY).digest


def test_many_runs_are_several_streams() -> None:
    run = little("s", "1", "a")
    streams = encode_runs([(run, prepare(run, DAY))] * 1_001)
    assert [pa.ipc.open_stream(data).read_all().num_rows for data in streams] == [1_000, 1]
    large = [little("s", "1", str(number), artifacts={"model": bytes(5 << 20)}) for number in range(2)]
    assert [len(receive(data)) for data in send(*large)] == [1, 1]


def test_integers_that_arrow_has_not_are_refused_before_they_are_sent() -> None:
    wide = pl.DataFrame({"timestamp": DAYS, "x": pl.Series([1] * 4, dtype=pl.Int128)})
    with pytest.raises(WindowRefused, match="x is of type Int128"):
        send(little("s", "1", "a", equity=wide))


def forged(**changes: Any) -> bytes:
    """A stream with one run that nobody prepared."""
    row = {"strategy": "s", "version": "1", "run_id": "a", "document": "{}", "artifacts": [], **changes}
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([row], SCHEMA))
    return sink.getvalue()


def ipc(**columns: Any) -> bytes:
    sink, table = io.BytesIO(), pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_a_run_that_says_nothing_is_one() -> None:
    [run] = receive(forged())
    assert run.row["environment"] == "{}", "where the server runs says nothing of the run"
    assert receive(forged(document=None))[0].digest == run.digest == prepare(little("s", "1", "a"), DAY).digest


MOMENTS = pa.array([0, 1], pa.timestamp("us", "UTC"))
DOCUMENTS: list[tuple[str, type[GbError], str]] = [
    ("[]", FormatRefused, "valid dictionary"),
    ("{", FormatRefused, "cannot be read"),
    ("[" * 100_000, FormatRefused, "cannot be read"),
    ('{"seeds": {"a": ' + "9" * 5_000 + "}}", FormatRefused, "cannot be read"),
    ('{"digest": "0"}', FormatRefused, "digest: Extra inputs"),
    ('{"markets": "crypto"}', FormatRefused, "markets: Input should be a valid list"),
    ('{"data": [{"pin": 1}]}', FormatRefused, "data.0.pin"),
    ('{"parameters": {"a": {"$seconds": "1e900000"}}}', FormatRefused, "are no timedelta"),
    ('{"parameters": {"a": {"$decimal": "x"}}}', FormatRefused, "cannot be read"),
    ('{"parameters": {"a": {"$date": 1}}}', FormatRefused, "cannot be read"),
    ('{"timings": {"a": 1' + "0" * 400 + "}}", FormatRefused, "cannot be read"),
    ('{"parameters": {"$a": 1}}', ConfigError, "the key '\\$a'"),
    ('{"parameters": {"a": "\\ud800"}}', ConfigError, "no valid text"),
    ('{"metrics": {"a": "x"}}', WindowRefused, "the metric a"),
    ('{"metrics": {"a": {"$decimal": "1e900000"}}}', WindowRefused, "digits"),
    ('{"seeds": {"a": 0.5}}', ConfigError, "the seed a"),
    ('{"tags": ["a/b"]}', ConfigError, "a tag cannot be"),
    ('{"state": "won"}', ConfigError, "a run cannot be 'won'"),
    ('{"started_at": {"$datetime": "2024-01-02T00:00:00"}}', NaiveTimestamp, "zone"),
    ('{"started_at": "2024-01-02"}', FormatRefused, "started_at"),
]


@pytest.mark.parametrize(("document", "kind", "reason"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_a_document_that_is_wrong_is_refused(document: str, kind: type[GbError], reason: str) -> None:
    with pytest.raises(kind, match=reason) as refused:
        receive(forged(document=document))
    assert refused.value.fix or kind is NaiveTimestamp


FORGED: list[tuple[dict[str, Any], type[GbError], str]] = [
    ({"strategy": "../s"}, ConfigError, "the strategy cannot be"),
    ({"run_id": None}, ConfigError, "the run id cannot be"),
    ({"equity": b"x"}, FormatRefused, "a frame of run 1"),
    ({"equity": ipc(timestamp=MOMENTS, x=[[1], [2]])}, FormatRefused, "the column x is of type list"),
    ({"equity": ipc(timestamp=MOMENTS, x=pa.array(["a", "b"]).dictionary_encode())}, FormatRefused, "is of type dictionary"),
    ({"equity": ipc(timestamp=MOMENTS, x=["a", "b"])}, WindowRefused, "x is of type String"),
    ({"equity": ipc(timestamp=pa.array([0, 1], pa.timestamp("us", "Nowhere/At_all")), x=[1, 2])}, GbError, "."),
    ({"equity": ipc(timestamp=pa.array([0, (1 << 63) - 1], pa.timestamp("ns", "UTC")), x=[1, 2])}, WindowRefused, "finer"),
    ({"equity": ipc(timestamp=pa.array([(1 << 63) - 1] * 2, pa.timestamp("us", "UTC")), x=[1, 2])}, GbError, "."),
    ({"equity": ipc(timestamp=MOMENTS, x=pa.array([Decimal(10) ** 37] * 2, pa.decimal128(38)))}, WindowRefused, "digits"),
    ({"fills": ipc(timestamp=MOMENTS, symbol=["a", "b"], quantity=[1, 2])}, WindowRefused, "no column price"),
    ({"equity": ipc(timestamp=pa.nulls(600), x=pa.nulls(600))}, FormatRefused, "more than 1,000 values"),
    ({"artifacts": [{"name": "a", "data": b"1"}, {"name": "a", "data": b"2"}]}, FormatRefused, "two artifacts"),
    ({"artifacts": [{"name": "../a", "data": b"1"}]}, ConfigError, "the name of an artifact"),
    ({"artifacts": [{"name": "a", "data": None}]}, ConfigError, "the artifact a"),
    ({"document": json.dumps({"error": "x" * (2 << 20)})}, FormatRefused, "at most 1,048,576 are read"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "kind", "reason"), FORGED, ids=range(len(FORGED)))
def test_a_run_that_is_wrong_is_refused(changes: dict[str, Any], kind: type[GbError], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        receive(forged(**changes))


def test_frames_of_all_runs_count_together() -> None:
    curve = pl.DataFrame({"timestamp": pl.datetime_range(DAY, DAY + timedelta(minutes=99), "1m", eager=True), "x": 1})
    [data] = send(*(little("s", "1", str(number), equity=curve) for number in range(3)))
    assert len(receive(data, most_values=600)) == 3
    with pytest.raises(FormatRefused, match="a frame of run 3 of the stream"):
        receive(data, most_values=599)


def test_another_schema_is_refused() -> None:
    with pytest.raises(
        FormatRefused, match="its columns are other ones: run \\(string\\) where strategy \\(string\\) should be"
    ):
        receive(ipc(run=["a"]))
    with pytest.raises(FormatRefused, match="no run in it"):
        receive(ipc(**{field.name: pa.array([], field.type) for field in SCHEMA}))


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=20)
def test_bytes_that_were_changed_are_a_run_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(send(make_run())[0])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        receive(bytes(data))
    except GbError as refused:
        assert refused.what
