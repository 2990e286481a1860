"""A real Ceph with its gateway for S3 (Debian's `radosgw ceph-mon ceph-osd`) on loopback, all of it in one folder and in memory."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 120
# One monitor, one disk in memory, one copy of everything.
_SETTINGS = """[global]
fsid = {fsid}
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
keyring = {folder}/keyring
mon_data = {folder}/mon
osd_data = {folder}/osd
rgw_data = {folder}/rgw
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
mon_host = [v2:127.0.0.1:{v2}/0,v1:127.0.0.1:{v1}/0]
mon_initial_members = a
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
rgw_frontends = beast endpoint=127.0.0.1:{http}
rgw_usage_max_user_shards = 1
"""


@contextmanager
def running_ceph(folder: Path, key: str, secret: str) -> Iterator[str]:
    """The address of the gateway while the block runs; one user has the credentials."""
    folder.mkdir(parents=True)
    v1, v2, http = _free_port(), _free_port(), _free_port()
    configuration = folder / "ceph.conf"
    fsid = uuid.uuid4()
    configuration.write_text(_SETTINGS.format(folder=folder, fsid=fsid, v1=v1, v2=v2, http=http), encoding="utf-8")
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
        return done.stdout

    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("wb") as log:
            started.append(subprocess.Popen([*command, "-c", str(configuration), "-f"], stdout=log, stderr=log))

    of = ["-c", str(configuration)]
    try:
        keyring, monitors = str(folder / "keyring"), str(folder / "monmap")
        everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
        run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "client.rgw", "osd.0"):
            run("ceph-authtool", keyring, "--gen-key", "-n", name, *everything)
        run("monmaptool", "--create", "--fsid", str(fsid), "--addv", "a",
            f"[v2:127.0.0.1:{v2}/0,v1:127.0.0.1:{v1}/0]", monitors)  # fmt: skip
        run("ceph-mon", *of, "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)
        start("ceph-mon", "-i", "a")
        run("ceph", *of, "auth", "import", "-i", keyring)
        disk = str(uuid.uuid4())
        run("ceph", *of, "osd", "new", disk)
        run("ceph-osd", *of, "--mkfs", "-i", "0", "--osd-uuid", disk)
        run("ceph", *of, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        start("ceph-osd", "-i", "0")
        run("radosgw-admin", *of, "user", "create", "--uid=bars", "--display-name=bars", f"--access-key={key}",
            f"--secret-key={secret}", "--max-buckets=100000")  # fmt: skip
        start("radosgw", "-n", "client.rgw")
        url = f"http://127.0.0.1:{http}"
        _wait_for(url, started)
        yield url
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(url: str, started: list[subprocess.Popen[bytes]]) -> None:
    limit = time.monotonic() + _SECONDS
    while True:
        assert all(process.poll() is None for process in started), "a part of Ceph has ended"
        assert time.monotonic() < limit, "Ceph's gateway does not answer"
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
