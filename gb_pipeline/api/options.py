"""How the API is served: where it listens, who may come, and what one request may take. Nothing is opened here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from gb_pipeline.errors import ConfigError

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8321


@dataclass(frozen=True)
class ServeOptions:
    """Limits and addresses of `gb serve`; every limit has a default that suits one machine.

    Attributes:
        host, port: where to listen; port 0 is a free one.
        allowed_hosts: further names by which browsers and programs may call the server, without a port. Its own address and, on
            loopback, `localhost` are always among them.
        dagster_url: address of Dagster's page, to which the page links series and runs; None leaves the links out.
        require_token: refuse whoever brings no token, also where there are none yet.
        requests_per_second, burst: of one token; of one address `address_factor` times as many.
        most_body_bytes: of a request that is no upload.
        most_upload_bytes: of one upload, as it is sent.
        most_upload_rows: of one upload, once it is decoded.
        most_decode_bytes: memory that decoding an upload may take.
        most_run_bytes: of a request that saves runs of backtests.
        most_run_values: rows times columns of all frames in it; for each up to 250 bytes of memory are taken.
        head_seconds, most_head_bytes: how long the head of a request, its address and headers, may take to arrive, and its size.
        reader_seconds: how long a reader may take nothing of an answer.
        body_seconds: how long the body of a request may take to arrive.
        most_json_rows: of an answer as JSON; Arrow, Parquet and CSV have no such limit.
        piece_rows: about how many bars are held at a time while they are sent.
        most_held_rows: of an answer that cannot be cut into pieces, such as resampled bars.
        sql_seconds, sql_rows, sql_bytes: what one query may take.
        sql_processes: how many queries run at a time, each in a process of its own; further ones wait.
        threads: how many questions are answered at a time; further ones wait.
        shutdown_seconds: how long downloads that run may go on after SIGTERM.
        upload_hours: how long an upload that nobody goes on with is kept.
        most_uploads: unfinished at a time.
    """

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    allowed_hosts: tuple[str, ...] = ()
    require_token: bool = False
    dagster_url: str | None = None
    requests_per_second: float = 50.0
    burst: int = 200
    address_factor: float = 4.0
    most_body_bytes: int = 1 << 20
    most_upload_bytes: int = 4 << 30
    most_upload_rows: int = 20_000_000
    most_decode_bytes: int = 4 << 30
    most_run_bytes: int = 64 << 20
    most_run_values: int = 10_000_000
    head_seconds: float = 20.0
    most_head_bytes: int = 64 << 10
    reader_seconds: float = 300.0
    body_seconds: float = 60.0
    most_json_rows: int = 10_000
    piece_rows: int = 250_000
    most_held_rows: int = 20_000_000
    sql_seconds: float = 30.0
    sql_rows: int = 1_000_000
    sql_bytes: int = 1 << 30
    sql_processes: int = 4
    threads: int = 8
    shutdown_seconds: int = 60
    upload_hours: int = 24
    most_uploads: int = 64

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: a port that there is not, or a limit that is not positive.
        """
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"there is no port {self.port}", fix="use 1 to 65535, or 0 for a free one")
        if self.dagster_url is not None and not self.dagster_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"{self.dagster_url[:80]!r} is no address of Dagster's page",
                fix="write http://127.0.0.1:3000, for example",
            )
        for name, value in vars(self).items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "port" and value <= 0:
                raise ConfigError(f"{name} is {value}", fix="give a number above 0")

    @property
    def listens_here_only(self) -> bool:
        """Whether nobody but this machine reaches the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> frozenset[str]:
        """Names that the header `Host` may have, in small letters and without a port."""
        own = {self.host, "localhost", LOOPBACK, "::1"} if self.listens_here_only else {self.host}
        return frozenset(name.lower() for name in {*own, *self.allowed_hosts})
