"""A PostgreSQL server of one's own: a cluster in a temporary folder on a free port of loopback, with a password."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from gb_pipeline.dagster_runtime.home import POSTGRES_CONFIG, read_template
from gb_pipeline.dagster_runtime.instance import find_free_port

# One that has to be escaped in an address.
PASSWORD = "p:w/§ 100%"
_USER = "keeper"


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`; Debian keeps them off the path."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class Server:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self, database: str = "postgres") -> psycopg2.extensions.connection:
        return psycopg2.connect(host="127.0.0.1", port=self.port, user=_USER, password=PASSWORD, dbname=database)

    def create(self, database: str) -> dict[str, str]:
        """An empty database, and the variables that dagster.postgres.yaml finds it by."""
        connection = self.connect()
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'create database "{database}"')
        finally:
            connection.close()
        named = {"HOST": "127.0.0.1", "DB": database, "USER": _USER, "PASSWORD": PASSWORD}
        return {f"DAGSTER_POSTGRES_{name}": value for name, value in named.items()}

    @property
    def config(self) -> str:
        """dagster.postgres.yaml, for the port of this server."""
        text = read_template(POSTGRES_CONFIG)
        assert text.count("port: 5432") == 1
        return text.replace("port: 5432", f"port: {self.port}")


@contextmanager
def serve(programs: Path, *options: str) -> Iterator[Server]:
    """A server for the length of the block. PostgreSQL refuses to run as root, so root hands it to `nobody`.

    Args:
        programs: from `find_programs`.
        options: `name=value` settings of the server.
    """
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="gb-postgres-"))
    try:
        if user:
            shutil.chown(folder, "nobody", "nogroup")
        secret, data, log = folder / "password", folder / "data", folder / "log"
        secret.write_text(PASSWORD, encoding="utf-8")
        made = [str(programs / "initdb"), "-D", str(data), "-U", _USER, f"--pwfile={secret}", "--auth=scram-sha-256",
                "--encoding=UTF8", "--no-locale", "--no-sync"]  # fmt: skip
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        port = find_free_port()
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *options]
        command = [str(programs / "postgres"), "-D", str(data), *(part for one in settings for part in ("-c", one))]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, **user)
        try:
            server = Server(port)
            _wait(server, process, log)
            yield server
        finally:
            # Fast shutdown: it does not wait for clients.
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            server.connect().close()
        except psycopg2.OperationalError:
            assert process.poll() is None and time.monotonic() < until, log.read_text("utf-8", "replace")
            time.sleep(0.05)
        else:
            return
