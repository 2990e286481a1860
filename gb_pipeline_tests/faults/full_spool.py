"""A collector whose spool is on a small disk that fills up: `python -m gb_pipeline_tests.faults.full_spool DISK PROJECT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gb_pipeline.lake.datasets import STREAM_INTERVALS, stream_dataset
from gb_pipeline_tests.collectors import plain
from gb_pipeline_tests.collectors.test_collector import Running, trade, wait_for
from gb_pipeline_tests.faults.little_space import fill


def main() -> None:
    """Print what was said while the disk was full, and what is in the lake afterwards."""
    disk, project = Path(sys.argv[1]), Path(sys.argv[2])
    ballast, sent = disk / "ballast", 0
    with plain.PlainServer() as server:
        running = Running(project, server, spool=str(disk), queue_seconds=0.3, stream={"datasets": ["trades"]})
        wait_for(lambda: server.connected, "connection")
        [item] = running.collector.feeds[0].heard

        def send() -> None:
            nonlocal sent
            sent += 1
            server.send(trade(sent))

        send()
        wait_for(running.spooled, "first trade")
        # What is sealed is committed, and its space is taken too.
        fill(ballast, 0)

        def is_full() -> bool:
            send()
            if ballast.exists():
                fill(ballast, 0)
            return running.collector._state().spool_error is not None and item.link._paused

        wait_for(is_full, "full disk", 60)
        error = running.collector._state().spool_error
        paused = item.link._paused
        for _ in range(50):
            send()
        ballast.unlink()
        wait_for(lambda: sum(stream.rows for stream in item.evidence.streams.values()) == sent, "the rest", 60)
        state = running.stop()
        stored = running.read(stream_dataset("trades"))
        report = {
            "error": error, "paused": paused, "sent": sent, "stored": stored["trade_id"].n_unique(),
            "kinds": sorted(set(running.read(STREAM_INTERVALS)["kind"])), "error_afterwards": state.spool_error,
        }  # fmt: skip
        assert stored.height == report["stored"]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
