"""`gb explain` and `gb replay`: what is said of a bar and of kept responses, and how it ends."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.cli.console import PROJECT, Gb

DAY = ("--start", "2024-01-02", "--end", "2024-01-03")


@pytest.fixture
def kept(gb: Gb, tmp_path: Path) -> Path:
    """A project that keeps responses, with a day of one symbol."""
    (tmp_path / "gb.yaml").write_text(
        PROJECT.replace("    start:", "    keep_raw: true\n    start:", 1), encoding="utf-8"
    )
    assert gb("fetch", "sim", "BTC-USDT", *DAY, "-c", tmp_path).code == 0
    return tmp_path


def files(project: Path) -> list[Path]:
    return sorted((project / "data" / "raw").rglob("*.zst"))


def test_a_bar_is_explained_down_to_the_bytes(gb: Gb, kept: Path) -> None:
    told = gb("explain", "sim:BTC-USDT", "2024-01-02T10:00Z", "-c", kept)
    assert told.code == 0
    for path in files(kept):
        assert str(path) in told.out
    for words in ("bars_1m", "complete", "ccxt/2", "the bar follows from these bytes", "intact", "brought by"):
        assert words in told.out
    found = gb("explain", "sim:BTC-USDT", "2024-01-02T10:00Z", "-c", kept, "--json").json
    assert found["delivered"]["verdict"] == "agrees"
    assert found["bar"]["close"] == found["delivered"]["content"]["close"]
    assert [body["address"] for body in found["delivered"]["bodies"]]


def test_a_lake_alone_is_explained_too(gb: Gb, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    told = gb("explain", "sim:BTC-USDT", "2024-01-02T10:00Z", "--lake", kept / "data", "--json")
    assert (told.code, told.json["delivered"]["verdict"]) == (0, "not read")


def test_a_gb_yaml_that_wants_what_is_not_there_keeps_nobody_from_asking(
    gb: Gb, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GB_SIM_URL")
    told = gb("explain", "sim:BTC-USDT", "2024-01-02T10:00Z", "-c", kept)
    assert (told.code, "not read" in told.out, "GB_SIM_URL" in told.err) == (0, True, True)


def test_what_is_not_there_or_damaged_ends_with_one(gb: Gb, kept: Path) -> None:
    nothing = gb("explain", "sim:BTC-USDT", "2024-01-05T10:00Z", "-c", kept)
    assert (nothing.code, "there is none" in nothing.out) == (1, True)
    files(kept)[0].write_bytes(b"x")
    damaged = gb("explain", "sim:BTC-USDT", "2024-01-02T10:00Z", "-c", kept)
    assert (damaged.code, "damaged" in damaged.out) == (1, True)


@pytest.mark.parametrize("arguments", [
    ("sim:BTC-USDT", "soon"),
    ("sim:BTC-USDT", "2024-01-02T10:00"),
    ("sim", "2024-01-02T10:00Z"),
    ("sim:BTC-USDT", "2024-01-02T10:00Z", "-r", "7x"),
])  # fmt: skip
def test_an_unusable_question_ends_with_two(gb: Gb, stored: Path, arguments: tuple[str, ...]) -> None:
    assert gb("explain", *arguments, "-c", stored).code == 2


def test_an_unknown_series_ends_with_one(gb: Gb, stored: Path) -> None:
    assert gb("explain", "sim:NO-USDT", "2024-01-02T10:00Z", "-c", stored).code == 1


def test_replay_says_that_nothing_differs(gb: Gb, kept: Path) -> None:
    told = gb("replay", "sim", "BTC-USDT", "-c", kept)
    assert (told.code, told.err) == (0, "1 kept response read again: everything in it is stored\n")
    found = gb("replay", "sim", "BTC-USDT", *DAY, "-c", kept, "--json")
    assert found.json["symbols"][0]["rows"] == 1440


def test_replay_ends_with_one_where_something_differs_and_with_zero_once_it_is_put_right(gb: Gb, kept: Path) -> None:
    # The newest answer becomes one that says something else: as if today's code read it differently.
    raw = RawStore(Storage.at(kept / "data"))
    path = max(files(kept), key=lambda file: file.stat().st_size)
    body = raw.get(path.stem)
    stamp, _, rest = body.decode().partition(",")
    changed = f"{stamp},{rest.replace('.', '.0', 1)}".encode()
    assert changed != body
    name = raw.put(changed)
    _rename(kept, path.stem, name)
    found = gb("replay", "sim", "BTC-USDT", "-c", kept)
    assert (found.code, "1 bar differs" in found.err, "changed" in found.out) == (1, True, True)
    explained = gb("explain", "sim:BTC-USDT", "2024-01-02T00:00Z", "-c", kept)
    assert (explained.code, "it says" in explained.out) == (1, True)
    assert gb("replay", "sim", "BTC-USDT", "--write", "-c", kept).code == 0
    again = gb("replay", "sim", "BTC-USDT", "-c", kept)
    assert (again.code, "is stored" in again.err) == (0, True)
    assert gb("explain", "sim:BTC-USDT", "2024-01-02T00:00Z", "-c", kept).code == 0


def _rename(project: Path, old: str, new: str) -> None:
    import polars as pl

    from gb_pipeline.lake import fetches
    from gb_pipeline.lake.store import LakeStore

    store = LakeStore.at(project / "data")
    row = fetches.read(store.tables).drop("known_at", "period").to_dicts()[0]
    names = tuple(new if one == old else one for one in row["raw"])
    together = b"".join(RawStore(store.storage).get(one) for one in names)
    row |= {"raw": names, "response_hash": sha256(together).hexdigest(), "outcome": fetches.FetchOutcome.OK}
    for folder in ("lake/fetches", "log/fetches"):
        shutil.rmtree(project / "data" / folder)
    store = LakeStore.at(project / "data")
    store.record_fetches([fetches.FetchRecord(**row)])
    assert fetches.read(store.tables).select(pl.len()).item() == 1


def test_without_kept_responses_replay_ends_with_one_and_says_what_to_do(gb: Gb, stored: Path) -> None:
    told = gb("replay", "sim", *DAY, "-c", stored)
    assert told.code == 1
    assert "keep_raw: true" in told.err


@pytest.mark.parametrize(
    "arguments", [("--start", "soon"), ("--start", "2024-01-03", "--end", "2024-01-02"), ("-r", "7x")]
)
def test_unusable_arguments_of_replay_end_with_two(gb: Gb, stored: Path, arguments: tuple[str, ...]) -> None:
    assert gb("replay", "sim", *arguments, "-c", stored).code == 2
