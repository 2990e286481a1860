"""A real Redis on a free loopback port, in a folder of its own, for as long as a block runs."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from gb_pipeline.dagster_runtime.instance import find_free_port

PASSWORD = "PLANTED-queue-password"


def find_redis() -> str | None:
    """The program, where it is installed."""
    return shutil.which("redis-server")


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Its address, with the password that it asks for."""
    port, folder = find_free_port(), folder / "redis"
    folder.mkdir()
    settings = f'bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\ndir {folder}\nsave ""\nappendonly no\n'
    (folder / "redis.conf").write_text(settings, encoding="utf-8")
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(find_redis()), str(folder / "redis.conf")], stdout=log, stderr=log)
    try:
        with redis.Redis.from_url(url) as client:
            until = time.monotonic() + 60
            while not _answers(client):
                assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text("utf-8")
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
