"""The law of `RemoteLake`: every method answers as `Lake` does, with the same frames and the same errors."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import GbError, Lake, PriceAdjustment, RemoteLake, Resolution, Symbol
from gb_pipeline.errors import (
    ConfigError,
    LakeError,
    NaiveTimestamp,
    NoDataInRange,
    PinRefused,
    ServerUnavailable,
    UnknownSeries,
)
from gb_pipeline_tests.serving import NINE, minutes

BTC, BOTH, DAY = "BTC-USD", ["BTC-USD", "ETH-USD"], ("2024-01-02", "2024-01-03")
THEN = datetime(2024, 1, 5, 12, tzinfo=UTC)
QUESTIONS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("bars", (BTC, "1m", *DAY), {}),
    ("bars", (None, "1m"), {"source": "sim"}),
    ("bars", (BOTH, Resolution.MINUTE), {"as_of": THEN, "columns": ["symbol", "timestamp", "close"]}),
    ("bars", (Symbol.crypto(BTC), "1m", date(2024, 1, 3)), {"as_float": True}),
    ("bars", (BTC, "1m", np.datetime64("2024-01-02T10:00"), "2024-01-02T11:00Z"), {}),
    ("bars", (BTC, "1m", *DAY), {"resample": "1h"}),
    ("bars", (BOTH, "1m"), {"settled_only": True}),
    ("bars", ("AAPL", "1d"), {"adjustment": "splits"}),
    ("bars", ("AAPL", "1d"), {"adjustment": PriceAdjustment(dividends="ex_close", anchor="start")}),
    ("bars", ("BTC-US", "1m"), {}),
    ("bars", (BTC, "1m", "2030-01-01"), {}),
    ("bars", (BTC, "1x"), {}),
    ("bars", (BTC, "1m", datetime(2024, 1, 2, 10)), {}),
    ("bars", (BTC, "1m", "2024-01-03", "2024-01-02"), {}),
    ("bars", (BTC, "1m"), {"adjustment": "sideways"}),
    ("bars", ([], "1m"), {}),
    ("wide", ("close", BOTH, "1m", *DAY), {}),
    ("returns", (BOTH, "1m", *DAY), {"kind": "log"}),
    ("align", (BOTH, "1m", *DAY), {"calendar": "24/7", "fill": True}),
    ("arrow", (BTC, "1m", *DAY), {"as_float": True}),
    ("arrow", (BTC, "1m", *DAY), {}),
    ("pandas", (BTC, "1m", *DAY), {}),
    ("scan_bars", (BTC, "1m", *DAY), {}),
    ("extent", (BOTH, "1m"), {}),
    ("latest", (None, "1m"), {"source": "sim"}),
    ("symbols", (), {}),
    ("symbols", ("sim", "1m"), {"as_of": "2024-01-05T12:00Z"}),
    ("coverage", ("sim", BTC, "1m", *DAY), {}),
    ("coverage", (), {}),
    ("gaps", (), {}),
    ("restatements", (), {}),
    ("restatements", ("sim", "ETH-USD", "1m"), {"since": "2024-01-05T12:00Z"}),
    ("withdrawn", (), {}),
    ("quarantine", (), {}),
    ("settled", (), {}),
    ("changes", (None,), {}),
    ("changes", ("2024-01-05T12:00Z", "sim"), {}),
    ("overrides", (), {}),
    ("removals", (), {}),
    ("corporate_actions", (), {}),
    ("corporate_actions", ("AAPL",), {"kind": "split"}),
    ("instruments", (), {}),
    ("fundamentals", (), {}),
    ("fundamentals", ("AAPL", "net_income"), {"as_of": THEN}),
    ("trailing_twelve_months", (), {}),
    ("listings", (), {"on": "2024-01-02"}),
    ("factors", ("trend",), {"columns": "mean", "as_of": THEN}),
    ("stream_status", (), {}),
    ("contracts", ("ES",), {}),
    ("rolls", (), {}),
    ("continuous", ("ES", "1d"), {"calendar": "CMES"}),
    ("trades", (BTC,), {}),
    ("trades", (BTC, NINE + 6, NINE + 8), {"as_float": True}),
    ("trades", (BTC, np.datetime64(NINE + 6, "ns")), {"columns": ["price", "size"]}),
    ("quotes", (BTC,), {}),
    ("l2", (BTC,), {"source": "venue"}),
    ("book_snapshots", (BTC,), {"source": "venue"}),
    ("book", (BTC, NINE + 20), {"source": "venue"}),
    ("book", (BTC, NINE - 5), {"source": "venue"}),
    ("bars_from_trades", (BTC,), {"resolution": "1m"}),
    ("bars_from_trades", (BTC,), {"volume": "0.5"}),
    ("stream_coverage", (), {}),
    ("stream_gaps", (), {}),
    ("stream_statistics", (), {}),
    ("stream_files", (), {"table": "trades"}),
    ("stream_data", (), {}),
    ("watermarks", (), {}),
    ("instrument_bars", ("nobody", "1d"), {}),
    ("fingerprint", (), {}),
    ("fingerprint", ("sim", BTC, "1m", "2024-01-02T10:00Z", "2024-01-03"), {"verify": True}),
    ("fingerprint", ("sim", "BTC-US"), {}),
    ("pins", (), {}),
    ("explain_sql", ("select max(close) from bars_1m where symbol = 'BTC-USD'",), {}),
    ("explain_sql", ("select * from nowhere",), {}),
    ("explain_sql", ("select 1 as one",), {}),
    ("valid_mask", (BTC, [NINE + 50, NINE + 200], 10), {}),
    ("valid_mask", (BTC, pl.Series([NINE + 50, None]), "1m"), {"datasets": "trades"}),
    ("valid_mask", (BTC, pl.Series([], dtype=pl.Int64), 10), {}),
    ("valid_mask", (BTC, ["2024-01-02T09:00Z", THEN], "sideways"), {}),
    ("valid_mask", ("XRP-USD", ["2024-01-02T09:00Z", THEN], "5m"), {}),
    ("compare_bars_with_trades", (BTC, "1m", "2024-01-02T09:00Z", "2024-01-02T09:02Z"), {"bars_source": "sim"}),
    ("compare_bars_with_trades", (BTC, "1w", *DAY), {}),
    ("sql", ("select source, symbol, count(*) as bars from bars_1m group by all order by all",), {}),
    ("sql", ("select * from bars_1m order by symbol, timestamp limit 10",), {"as_of": THEN}),
    ("sql", ("select 1; select 2",), {}),
    ("sql", ("copy (select 1) to '/tmp/x'",), {}),
    ("sql", ("select * from nowhere",), {}),
]


def ask(lake: Any, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        found = getattr(lake, method)(*arguments, **options)
    except GbError as error:
        return type(error), error.what, error.fix, getattr(error, "near", None), getattr(error, "available", None)
    return found.collect() if isinstance(found, pl.LazyFrame) else found


@pytest.mark.parametrize(("method", "arguments", "options"), QUESTIONS, ids=lambda value: str(value)[:40])
def test_a_remote_lake_answers_as_the_lake_does(
    local: Lake, far: RemoteLake, method: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    here, there = (ask(lake, method, arguments, options) for lake in (local, far))
    if isinstance(here, pl.DataFrame):
        assert_frame_equal(there, here, check_exact=True)
    elif isinstance(here, tuple):
        assert there == here
    elif is_dataclass(here):
        assert type(there) is type(here)
        for name, value in tables_of(here).items():
            assert_frame_equal(getattr(there, name), value, check_exact=True)
        others = set(vars_of(here)) - set(tables_of(here))
        assert {name: getattr(there, name) for name in others} == {name: getattr(here, name) for name in others}
    else:
        assert there == here if isinstance(here, list) else there.equals(here)


def vars_of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def tables_of(value: Any) -> dict[str, pl.DataFrame]:
    return {name: item for name, item in vars_of(value).items() if isinstance(item, pl.DataFrame)}


# What a remote lake has not: it holds no files, keeps no answers, and writes by `put` alone.
LOCAL_ONLY = {
    "open", "store", "cache", "pieces", "write_bars", "sql_reader", "pin", "unpin", "symbol",
}  # fmt: skip


def test_every_method_is_asked_here_and_has_the_signature_of_the_lake() -> None:
    public = {name for name, _ in inspect.getmembers(Lake) if not name.startswith("_")}
    own = {name for name, _ in inspect.getmembers(RemoteLake) if not name.startswith("_")} - {"transport"}
    assert public - own == LOCAL_ONLY
    assert own - {method for method, _, _ in QUESTIONS} == {"put", "close", "source_facts", "replay"}
    for name in own - {"close", "source_facts", "scan_bars", "arrow", "replay"}:
        assert inspect.signature(getattr(RemoteLake, name)) == inspect.signature(getattr(Lake, name)), name


def test_pins_are_those_of_the_lake_and_a_damaged_one_is_told(local: Lake, far: RemoteLake) -> None:
    pin = local.pin("monday", BTC, "1m", *DAY, source="sim")
    assert far.pins() == local.pins() == [pin]
    assert_frame_equal(far.pins()[0].sessions, pin.sessions)
    place = next(Path(str(local.store.storage.root)).rglob("monday.json"))
    content = place.read_bytes()
    place.write_bytes(b"{")
    for lake in (local, far):
        damaged: list[LakeError] = []
        assert lake.pins(damaged) == [] and "monday" in damaged[0].what
        with pytest.raises(LakeError, match="monday"):
            lake.pins()
    place.write_bytes(content)
    local.unpin("monday")


def test_a_replay_has_the_bars_of_the_pin_and_nothing_else(local: Lake, far: RemoteLake) -> None:
    pin = local.pin("monday", BTC, "1m", *DAY, source="sim")
    try:
        here, there = local.replay("monday"), far.replay(pin)
        assert there.pin == pin and there.source_facts == here.source_facts and "monday" in repr(there)
        for ask in (
            lambda replay: replay.bars(BTC, "1m"),
            lambda replay: replay.bars(None, "1m", as_float=True, columns=["timestamp", "close"]),
            lambda replay: replay.wide("close", None, "1m"),
            lambda replay: replay.scan_bars(BTC, "1m").collect(),
            lambda replay: pl.DataFrame(replay.arrow(BTC, "1m")),
        ):
            assert_frame_equal(ask(there), ask(here), check_exact=True)
        for wrong in (lambda replay: replay.bars("ETH-USD", "1m"), lambda replay: replay.bars(BTC, "1d")):
            with pytest.raises(GbError) as mine:
                wrong(here)
            with pytest.raises(type(mine.value), match=re.escape(mine.value.what)):
                wrong(there)
        with pytest.raises(PinRefused, match="names other bars"):
            far.replay(replace(pin, fingerprint="0" * 64))
    finally:
        local.unpin("monday")
    for lake in (local, far):
        with pytest.raises(ConfigError, match="monday"):
            lake.replay("monday")


def test_facts_of_the_sources_are_those_of_the_lake(local: Lake, far: RemoteLake) -> None:
    assert far.source_facts == local.source_facts


def test_a_frame_is_put_as_into_the_lake(local: Lake, far: RemoteLake, tmp_path: Path) -> None:
    frame = minutes("2024-02-01", 1440).with_columns(
        volume=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("-4")).otherwise("volume")
    )
    other, kept = Lake.open(tmp_path / "other", create=True), ["sessions_frame", "refused", "counts", "window", "total"]
    bars = {"source": "far", "resolution": "1m", "symbol": "SOL-USD", "gap_policy": "no_trade"}
    there, here = far.put(frame, **bars), other.put(frame, **bars)
    for name in kept:
        told, known = getattr(there, name), getattr(here, name)
        assert_frame_equal(told, known) if isinstance(told, pl.DataFrame) else None
        assert isinstance(told, pl.DataFrame) or told == known
    assert there.total.quarantined == 1
    assert there.fingerprint == here.fingerprint != ""
    assert_frame_equal(*(lake.bars("SOL-USD", "1m").drop("known_at") for lake in (local, other)))
    again = far.put(frame, **bars)
    assert (again.stored, again.unchanged) == (0, 1439)


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (pl.DataFrame({"a": [1]}), {"symbol": "BTC-USD"}),
        (minutes("2024-02-01", 3), {}),
        (minutes("2024-02-01", 3), {"symbol": "BTC-USD", "calendar": "nowhere"}),
        (minutes("2024-02-01", 3), {"symbol": "BTC-USD", "precision": "enormous"}),
        (minutes("2024-02-01", 3), {"symbol": "BTC-USD", "sideways": True}),
        (minutes("2024-02-01", 0), {"symbol": "BTC-USD"}),
        (None, {"symbol": "BTC-USD"}),
    ],
)
def test_what_the_lake_does_not_put_the_remote_lake_does_not_either(
    local: Lake, far: RemoteLake, frame: Any, options: dict[str, Any]
) -> None:
    told = []
    for lake in (local, far):
        with pytest.raises(GbError) as refused:
            lake.put(frame, source="bad", resolution="1m", **options)
        told.append((type(refused.value), refused.value.what))
    assert told[0] == told[1]
    assert "bad" not in local.symbols()["source"].to_list()


def test_errors_keep_what_programs_look_at(far: RemoteLake) -> None:
    with pytest.raises(UnknownSeries) as unknown:
        far.bars("BTC-US", "1m")
    assert unknown.value.near == ("BTC-USD",)
    with pytest.raises(NoDataInRange) as empty:
        far.bars(BTC, "1m", "2030-01-01")
    assert empty.value.available == (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, 23, 59, tzinfo=UTC))
    with pytest.raises(NaiveTimestamp):
        far.bars(BTC, "1m", "2024-01-02T10:00")


def test_a_token_that_is_wrong_or_missing_is_told_and_is_in_no_text(server: Any, token: str) -> None:
    for given in (None, "gb_00000000_wrong", f"{token}x"):
        with pytest.raises(ConfigError) as refused:
            RemoteLake(server.url, given).symbols()
        assert given is None or given not in str(refused.value)
    assert token not in repr(RemoteLake(server.url, token))


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("ftp://127.0.0.1", None),
        ("127.0.0.1:8321", None),
        ("http://me:secret@127.0.0.1", None),
        ("http://127.0.0.1:port", None),
        ("http://lake.example.com", "gb_1_x"),
        ("http://127.0.0.1", "two words"),
        ("http://127.0.0.1", "line\r\nbreak"),
        ("http://127.0.0.1/?token=secret", None),
    ],
)
def test_unusable_addresses_and_tokens_in_the_clear_are_refused(url: str, token: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        RemoteLake(url, token)
    assert "secret" not in str(refused.value)
    assert RemoteLake("http://lake.example.com", "gb_1_x", allow_http=True)


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gb_pipeline.client.transport._FIRST_PAUSE", 0.0)
    with pytest.raises(ServerUnavailable, match="gb serve"):
        RemoteLake("http://127.0.0.1:9").symbols()
