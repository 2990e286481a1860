"""Runs the app under uvicorn: the socket, signals and the logs. What is answered is decided elsewhere."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import uvicorn

from gb_pipeline.api.app import build_app
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.protocol import limited_protocol
from gb_pipeline.api.tokens import TokenStore
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.reading.lake import Lake

# What Linux lets wait; further connections are refused by the system.
_BACKLOG = 256
_MOST_CONNECTIONS = 512
_KEEP_ALIVE_SECONDS = 20
_LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "access": {"format": "%(message)s"},
    },
    "handlers": {
        "errors": {"class": "logging.StreamHandler", "formatter": "plain"},
        "access": {"class": "logging.StreamHandler", "formatter": "access"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["errors"], "level": "WARNING", "propagate": False},
        "gb_pipeline": {"handlers": ["errors"], "level": "INFO", "propagate": False},
        "gb_pipeline.api.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


def refuse_open_door(options: ServeOptions, tokens: TokenStore) -> None:
    """Let nobody but this machine in without a token.

    Raises:
        ConfigError: others can reach the address, or call it through a proxy, and there is no valid token.
    """
    if tokens.any_valid() or (options.listens_here_only and not options.allowed_hosts):
        return
    where = options.host if not options.listens_here_only else ", ".join(options.allowed_hosts)
    raise ConfigError(
        f"others can reach {where}, and there is no valid token",
        fix="make one first: gb token create NAME --scope read; or listen on 127.0.0.1",
    )


def serve(
    lake: Lake, options: ServeOptions, *, settings: Settings | None = None, ready_file: Path | None = None
) -> None:
    """Answer until SIGTERM or Ctrl-C; downloads that run then may end, for `shutdown_seconds`.

    Args:
        lake: to read, and to upload to.
        options: where to listen, and limits.
        settings: of the lake's project, where it has one.
        ready_file: where the URL is written as soon as it answers.

    Raises:
        ConfigError: the address cannot be used, or others could come in without a token.
    """
    refuse_open_door(options, TokenStore(lake.store.storage.state, clock=lake.store.clock))
    listener = _listen(options)
    port = listener.getsockname()[1]
    shown = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{shown}:{port}"
    config = uvicorn.Config(
        build_app(lake, options, settings=settings),
        log_config=_LOGS,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=options.shutdown_seconds,
        http=limited_protocol(options),
        lifespan="on",
        ws="none",
    )
    # uvicorn sends itself the signal again once it has ended all requests: to stop is no failure.
    stop = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        _Server(config, url, ready_file).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, stop)
        listener.close()


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, url: str, ready_file: Path | None) -> None:
        super().__init__(config)
        self._url, self._ready_file = url, ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            print(f"listening on {self._url}", flush=True)  # noqa: T201 - what `gb serve` prints
            if self._ready_file is not None:
                partial = self._ready_file.with_name(f"{self._ready_file.name}.{os.getpid()}")
                partial.write_text(self._url, encoding="utf-8")
                partial.replace(self._ready_file)


def _listen(options: ServeOptions) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror or error}",
            fix="choose another one: --port 0 takes a free one",
        ) from None
    return listener
