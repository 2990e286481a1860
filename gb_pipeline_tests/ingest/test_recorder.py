"""Whatever is asked of a vendor leaves a row, and its bytes where the source keeps them: without credentials, and first."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import LakeError, NotEntitled, TransientVendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.body_redaction import redact_body
from gb_pipeline.ingest.job import Job
from gb_pipeline.ingest.recorder import ask_vendor
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, RECEIVED, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched, Instrument
from gb_pipeline.storage.raw_responses import RAW, RawStore
from gb_pipeline_tests.bars import minutes
from gb_pipeline_tests.ingest.clock import stop_at

BTC, ETH, SOL = (Symbol.crypto(f"{base}-USD") for base in ("BTC", "ETH", "SOL"))
DAY = date(2024, 1, 2)
SECRET = "s3cr3t/k3y+of==mine"


def source(**settings: object) -> SourceSettings:
    body = {
        "name": "own", "provider": "ccxt", "asset_class": "crypto", "start": "2024-01-01",
        "symbols": [BTC.code, ETH.code, SOL.code], "options": {"key": SECRET}, "keep_raw": True,
    }  # fmt: skip
    return SourceSettings.model_validate(body | settings)


class Echo:
    """A vendor whose answer repeats the key that it was asked with; its bars are lines of a CSV."""

    name, adjustment, normaliser = "echo", Adjustment.RAW, "echo/3"

    def __init__(self, *, trouble: dict[str, BaseException] | None = None) -> None:
        self.trouble = trouble or {}

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        return True

    def requests(self, window: Window, resolution: Resolution) -> int:
        return 1

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        await asyncio.sleep(0)
        if symbol.code in self.trouble:
            raise self.trouble[symbol.code]
        count = int((window.end - window.start) / timedelta(minutes=1))
        lines = minutes(window.start.replace(tzinfo=None).isoformat(), count).drop("symbol").write_csv()
        bodies = (json.dumps({"next": f"https://vendor/?key={SECRET}", "who": SECRET}).encode(), lines.encode())
        frame = self.normalise(symbol, window, resolution, bodies)
        whole = b"".join(bodies)
        return Fetched(frame, hashlib.sha256(whole).hexdigest(), len(whole), len(bodies), 0.25, bodies)

    def normalise(
        self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[bytes]
    ) -> pl.DataFrame:
        return pl.read_csv(bodies[1], schema_overrides=dict(RECEIVED))

    async def aclose(self) -> None:
        raise AssertionError("a provider that was given is not closed")


def jobs(*symbols: Symbol) -> list[Job]:
    return [Job(symbol, DAY, DAY + timedelta(days=1)) for symbol in symbols]


def test_a_fetch_names_its_kind_its_reader_and_its_bodies(store: LakeStore) -> None:
    (outcome,) = ingest(store, source(), Resolution.MINUTE, jobs(BTC), provider=Echo())
    assert outcome.ok
    (row,) = fetches.read(store.tables).to_dicts()
    assert (row["kind"], row["normaliser"], row["outcome"]) == ("bars", "echo/3", "ok")
    first, second = (RawStore(store.storage).get(name) for name in row["raw"])
    assert json.loads(first) == {"next": "https://vendor/?key=***", "who": "***"}
    # What holds no credential is byte for byte what came.
    assert Echo().normalise(BTC, Window.of(DAY, DAY), Resolution.MINUTE, [first, second]).height == 1440


def test_no_file_of_the_lake_holds_a_credential_that_the_vendor_repeats(store: LakeStore) -> None:
    trouble: dict[str, BaseException] = {"ETH-USD": ZeroDivisionError(f"with {SECRET}")}
    with pytest.raises(ZeroDivisionError):
        ingest(store, source(max_concurrency=1), Resolution.MINUTE, jobs(BTC, ETH), provider=Echo(trouble=trouble))
    assert fetches.read(store.tables).height == 2
    raw = RawStore(store.storage)
    for path in (path for path in store.storage.root.rglob("*") if path.is_file()):
        content = raw.get(path.stem) if path.suffix == ".zst" else path.read_bytes()
        assert SECRET.encode() not in content, path
        if path.suffix == ".parquet":
            assert SECRET not in pl.read_parquet(path, hive_partitioning=False).write_json(), path


def test_a_source_that_keeps_nothing_has_no_folder_for_it(store: LakeStore, tmp_path: Path) -> None:
    class Careful(Echo):
        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            return Fetched((await super().fetch_bars(symbol, window, resolution)).frame, "0" * 64, 1, 1, 0.0)

    ingest(store, source(keep_raw=False), Resolution.MINUTE, jobs(BTC), provider=Careful())
    assert fetches.read(store.tables)["raw"].to_list() == [None]
    assert not (tmp_path / RAW).exists()


def test_bodies_that_cannot_be_kept_stop_the_run_before_anything_is_said_of_them(
    store: LakeStore, tmp_path: Path
) -> None:
    (tmp_path / RAW).write_text("in the way")
    with pytest.raises(LakeError, match="could not be kept"):
        ingest(store, source(), Resolution.MINUTE, jobs(BTC), provider=Echo())
    assert store.tables.newest("bars_1m").version == -1
    assert fetches.read(store.tables).is_empty()


def test_a_bar_that_is_stored_has_a_fetch_wherever_the_run_dies(
    store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **named: object) -> None:
        raise LakeError("the disk is full")

    monkeypatch.setattr(LakeStore, "write_bars", full)
    with pytest.raises(LakeError):
        ingest(store, source(), Resolution.MINUTE, jobs(BTC), provider=Echo())
    (row,) = fetches.read(store.tables).to_dicts()
    assert (row["outcome"], row["received"], row["stored"]) == ("ok", 1440, None)
    assert RawStore(store.storage).inspect(row["raw"][0]).state == "intact"


def test_every_call_leaves_a_row_also_the_one_that_dies_and_those_it_takes_along(store: LakeStore) -> None:
    class Waiting(Echo):
        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            if symbol == SOL:
                await asyncio.Event().wait()
            return await super().fetch_bars(symbol, window, resolution)

    trouble: dict[str, BaseException] = {"ETH-USD": ZeroDivisionError("with a key")}
    with pytest.raises(ZeroDivisionError):
        ingest(store, source(), Resolution.MINUTE, jobs(BTC, ETH, SOL), provider=Waiting(trouble=trouble), run_id="r7")
    rows = {row["symbol"]: row for row in fetches.read(store.tables).to_dicts()}
    assert {code: (row["outcome"], row["error"]) for code, row in rows.items()} == {
        "BTC-USD": ("ok", None),
        "ETH-USD": ("error", "ZeroDivisionError"),
        "SOL-USD": ("error", "CancelledError"),
    }
    assert "a key" not in rows["ETH-USD"]["message"]
    assert {row["run_id"] for row in rows.values()} == {"r7"}


def test_a_bar_that_was_open_when_the_vendor_was_asked_is_not_stored_however_late_it_is_written(
    store: LakeStore,
) -> None:
    asked = datetime(2024, 1, 2, 10, 0, 0, 300_000, tzinfo=UTC)

    class Slow(Echo):
        """Answers with the second in progress, and takes longer than that second lasts."""

        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            stop_at(store, asked + timedelta(seconds=1))
            return Fetched(minutes("2024-01-02T10:00", 1, step=1).drop("symbol"), "0" * 64, 1, 1, 0.0)

    settings = source(grace_seconds=0, resolutions=["1s"])
    ingest(stop_at(store, asked), settings, Resolution.SECOND, jobs(BTC), provider=Slow())
    assert store.tables.newest("bars_1s").version == -1
    assert pl.read_delta(store.storage.table("quarantine"))["reasons"].to_list() == [["bar_still_open"]]
    assert fetches.read(store.tables)["fetched_at"].to_list() == [asked]


async def test_other_questions_leave_rows_too(store: LakeStore) -> None:
    async def actions() -> Fetched:
        frame = pl.DataFrame([{"kind": "split"}], schema=ACTIONS_RECEIVED)
        return Fetched(frame, "0" * 64, 20, 1, 0.5, (f"split {SECRET}".encode(),))

    async def listed() -> list[Instrument]:
        return [Instrument(BTC, "XBT"), Instrument(ETH, "ETH")]

    async def refused() -> list[Instrument]:
        await asyncio.sleep(0.02)
        raise NotEntitled("the plan has no list", fix="pay")

    async def nothing() -> list[Instrument]:
        return []

    start, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    answer = await ask_vendor(
        store, source(), actions(), kind="corporate_actions", symbol=BTC.code, start=start, end=end, normaliser="echo/3"
    )
    assert (answer.frame.height, answer.bodies) == (1, ())
    assert len(await ask_vendor(store, source(), listed(), kind="instruments")) == 2
    assert await ask_vendor(store, source(), nothing(), kind="search") == []
    with pytest.raises(NotEntitled):
        await ask_vendor(store, source(), refused(), kind="instruments", run_id="r1")
    rows = fetches.read(store.tables).sort("kind", "outcome")
    assert rows.select("kind", "symbol", "outcome", "received", "calls", "error", "run_id").rows() == [
        ("corporate_actions", "BTC-USD", "ok", 1, 1, None, None),
        ("instruments", "", "error", 0, 0, "NotEntitled", "r1"),
        ("instruments", "", "ok", 2, 0, None, None),
        ("search", "", "empty", 0, 0, None, None),
    ]
    # An answer says itself how long it took; what sent no request took none; only the refused one was timed by a clock.
    took, refused_took, listed_took, nothing_took = rows["latency_ms"]
    assert (took, listed_took, nothing_took) == (500, 0, 0)
    assert refused_took >= 19
    (kept,) = rows.filter(pl.col("kind") == "corporate_actions")["raw"].item(0)
    assert RawStore(store.storage).get(kept) == b"split ***"


def test_a_vendors_error_says_what_it_said(store: LakeStore) -> None:
    trouble: dict[str, BaseException] = {"BTC-USD": TransientVendorError("own answered HTTP 503", fix="wait")}
    (outcome,) = ingest(store, source(), Resolution.MINUTE, jobs(BTC), provider=Echo(trouble=trouble))
    assert not outcome.ok
    row = fetches.read(store.tables).row(0, named=True)
    assert (row["error"], row["message"], row["raw"]) == ("TransientVendorError", "own answered HTTP 503", None)


@given(st.binary(max_size=200), st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=30))
def test_a_credential_is_gone_in_every_spelling_and_nothing_else_changes(body: bytes, secret: str) -> None:
    assert secret.encode() not in redact_body(body + secret.encode() + body, [secret])
    assert json.dumps(secret).encode() not in redact_body(json.dumps({"key": secret}).encode(), [secret])
    if secret.encode() not in body and b"%" not in body and b"\\" not in body:
        assert redact_body(body, [secret]) == body


@pytest.mark.parametrize(("body", "left"), [
    (b'{"key":"demo","democracy":1.5}', b'{"key":"***","democracy":1.5}'),
    (b"?apikey=demo&symbol=demo2", b"?apikey=***&symbol=demo2"),
    (b'{"open":"1.12","volume":12}', b'{"open":"1.12","volume":12}'),
])  # fmt: skip
def test_a_short_credential_does_not_take_data_along(body: bytes, left: bytes) -> None:
    assert redact_body(body, ["demo", "1"]) == left
