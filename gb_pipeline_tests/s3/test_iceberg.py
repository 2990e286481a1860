"""Iceberg tables of a lake in a bucket lie in the bucket, and hold no credential."""

from __future__ import annotations

import threading

import pytest

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.errors import LakeError
from gb_pipeline.iceberg.refresh import refresh_iceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import bucket_files
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.iceberg.engines import by_lake, by_pyiceberg
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store


def write(store: LakeStore, date: str, base: int = 100, symbol: str = "BTC-USD") -> None:
    store.write_bars("sim", symbol, "1m", day(date), minutes(date, 20, symbol=symbol, base=base))


def test_engines_read_the_bars_in_the_bucket(server: Store, bucket: Bucket, machine: Machine) -> None:
    store = machine("a")
    write(store, "2024-01-02")
    data = {name: size for name, size, _ in store.storage.files.list("lake")}
    [report] = refresh_iceberg(store)
    assert report.metadata == f"{bucket}/iceberg/bars_1m/metadata/v1.metadata.json"
    assert by_pyiceberg(store, "bars_1m").equals(by_lake(store, "1m"))
    assert {name: size for name, size, _ in store.storage.files.list("lake")} == data

    write(machine("b"), "2024-01-02", base=200)
    server.requests.clear()
    [report] = refresh_iceberg(machine("c"))
    assert (report.added, report.removed) == (1, 1)
    assert not server.listings()
    assert not [request for request in server.requests if request.name.endswith(".parquet")]
    assert by_pyiceberg(store, "bars_1m").equals(by_lake(machine("d"), "1m"))

    written = [store.storage.files.read(name) for name, _, _ in store.storage.files.list("iceberg")]
    assert len(written) >= 7
    for secret in (bucket.access_key_id, bucket.secret_access_key, bucket.endpoint):
        assert not [data for data in written if (secret or "").encode() in data]


def test_machines_at_once_end_with_the_newest(machine: Machine) -> None:
    write(machine("z"), "2024-01-02")
    errors: list[BaseException] = []

    def work(who: int) -> None:
        try:
            store = machine(str(who))
            for number in range(2):
                write(store, f"2024-0{who + 2}-0{number + 1}", symbol=f"S{who}")
                refresh_iceberg(store)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store = machine("y")
    [report] = refresh_iceberg(store)
    assert (report.added, report.rows) == (0, 140)
    assert by_pyiceberg(store, "bars_1m").equals(by_lake(store, "1m"))


def test_a_network_that_is_cut_leaves_the_table_of_before_or_the_new_one(
    server: Store, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_files, "ATTEMPTS", 1)
    write(machine("a"), "2024-01-02")
    refresh_iceberg(machine("a"))
    write(machine("a"), "2024-01-03")
    before = by_pyiceberg(machine("a"), "bars_1m").height
    # Before the new version is there, and before the hint says so.
    for cut in (2, 3):
        puts = iter(range(100))
        server.gone = lambda request, cut=cut, puts=puts: request.method == "PUT" and next(puts) == cut
        with pytest.raises(LakeError):
            refresh_iceberg(machine(f"cut {cut}"))
        server.heal()
        assert by_pyiceberg(machine("b"), "bars_1m").height in {before, before + 20}
        write(machine("a"), "2024-01-03", base=110 + cut)
    [report] = refresh_iceberg(machine("c"))
    assert report.rows == 40
    assert by_pyiceberg(machine("b"), "bars_1m").equals(by_lake(machine("b"), "1m"))
