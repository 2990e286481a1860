"""Several processes ingest into one lake at once, vendor calls included; writers alone are in `test_writers`."""

from __future__ import annotations

from datetime import date

from gb_pipeline.lake import quarantine, versions


def test_four_processes_with_overlapping_days_store_every_row_once(yard):
    yard.simulation.plant("bad", "BTC-USDT", start="2024-01-02T10:00:00Z", values={"high": "1.00"})
    spans = [
        ("2024-01-01", "2024-01-08"),
        ("2024-01-01", "2024-01-08"),
        ("2024-01-04", "2024-01-11"),
        ("2024-01-09", "2024-01-13"),
    ]

    waiting = [yard.ready(["BTC-USDT"], start, end) for start, end in spans]
    for process in [begin() for begin in waiting]:
        assert process.wait() == 0, yard.logs()

    bars = yard.bars()
    assert bars.height == 12 * 1440 - 1
    yard.assert_same(bars, yard.expected(["BTC-USDT"], "2024-01-01", "2024-01-13"))
    assert quarantine.read(yard.store.tables).height == 1
    assert versions.restatements(yard.store.tables).is_empty()
    claims = dict(yard.claims().select("session", "actual").iter_rows())
    assert claims == {date(2024, 1, day): 1439 if day == 2 else 1440 for day in range(1, 13)}
