"""Answers of a lake in a bucket are kept on this machine, and are those of the bucket whatever other machines do."""

from __future__ import annotations

from pathlib import Path

from gb_pipeline.config.cache import NO_CACHE, CacheOptions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store
from gb_pipeline_tests.s3.test_lake import write


def test_a_kept_answer_fetches_no_bars_and_is_that_of_the_bucket(
    machine: Machine, server: Store, tmp_path: Path
) -> None:
    writer = machine("a")
    options = CacheOptions(0, disk=True, folder=tmp_path / "kept")

    def fetched(store: LakeStore) -> int:
        wanted = Lake(writer, cache=NO_CACHE).bars("BTC-USD", "1m", source="sim")
        server.requests.clear()
        assert Lake(store, cache=options).bars("BTC-USD", "1m", source="sim").equals(wanted)
        return len([request for request in server.requests if request.name.endswith(".parquet")])

    write(writer, 1)
    reader = machine("b")
    assert [fetched(reader), fetched(reader), fetched(machine("c"))] == [1, 0, 0]
    write(writer, 2)
    assert [fetched(reader), fetched(reader)] == [1, 0]
    writer.delete("sim", "BTC-USD", "1m", reason="a test", purge=True)
    write(writer, 3, "2024-01-04")
    assert [fetched(reader), fetched(reader)] == [1, 0]
    assert len(list((tmp_path / "kept").rglob("*.arrow"))) == 1, "nothing of what was purged is left"
