"""Connections on which nothing happens end, and heads have a size: a few of them cannot keep everybody else out."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.protocol import limited_protocol

BODY = b"x" * (1 << 20)
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def answer(scope: object, receive: object, send: Callable[..., object]) -> None:
    """A hundred MB, in parts."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})  # type: ignore[misc]
    for _ in range(100):
        await send({"type": "http.response.body", "body": BODY, "more_body": True})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[misc]


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """A connection to a server with these limits."""
    running, opened = [], []

    def start(let_go: list[threading.Event] | None = None, **limits: float) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        options = ServeOptions(**limits)  # type: ignore[arg-type]
        lost = threading.Event()

        class Watched(limited_protocol(options)):  # type: ignore[misc]
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                lost.set()

        config = uvicorn.Config(answer, http=Watched, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        if let_go is not None:
            let_go.append(lost)
        opened.append(socket.create_connection(listener.getsockname(), 30))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
    for server, thread in running:
        server.should_exit = True
        thread.join()


def test_who_only_keeps_a_connection_open_makes_room_for_who_asks_and_no_answer_is_cut() -> None:
    most, may_end = 4, threading.Event()

    async def short(scope: Any, receive: object, send: Callable[..., Any]) -> None:
        if scope["path"] == "/long":
            await asyncio.to_thread(may_end.wait, 60)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    listener = socket.create_server(("127.0.0.1", 0))
    protocol = limited_protocol(ServeOptions())
    server = uvicorn.Server(
        uvicorn.Config(
            short, http=protocol, limit_concurrency=most, timeout_keep_alive=600, lifespan="off", log_config=None
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    opened = []
    try:
        for number in range(3 * most):
            opened.append(socket.create_connection(listener.getsockname(), 60))
            if number == 0:
                opened[0].sendall(GET.replace(b"/ ", b"/long ", 1))
            else:
                opened[-1].sendall(GET)
                assert opened[-1].recv(1000).startswith(b"HTTP/1.1 200"), number
        assert opened[1].recv(1) == b""
        may_end.set()
        assert opened[0].recv(1000).endswith(b"ok")
    finally:
        may_end.set()
        for one in opened:
            one.close()
        server.should_exit = True
        thread.join()


def read_all(connection: socket.socket) -> int:
    """How many bytes came until it was closed, or reset."""
    count = 0
    try:
        while block := connection.recv(1 << 20):
            count += len(block)
    except ConnectionResetError:
        pass
    return count


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_given_up(connect: Callable[..., socket.socket], sent: bytes) -> None:
    slow = connect(head_seconds=0.1)
    slow.sendall(sent)
    assert read_all(slow) == 0


def test_a_head_has_a_size(connect: Callable[..., socket.socket]) -> None:
    large = connect(most_head_bytes=10_000)
    try:
        large.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
        for number in range(10_000):
            large.sendall(b"X-%d: %s\r\n" % (number, b"y" * 1000))
    except (ConnectionResetError, BrokenPipeError):
        return
    pytest.fail("ten MB of headers were taken")


def test_a_reader_who_takes_nothing_is_cut_off(connect: Callable[..., socket.socket]) -> None:
    let_go: list[threading.Event] = []
    stalled = connect(let_go, reader_seconds=0.1)
    stalled.sendall(GET)
    stalled.recv(10)
    assert let_go[0].wait(30)
    # What lies in the system's buffers still comes.
    assert read_all(stalled) < 100 * len(BODY)


def test_whoever_reads_and_asks_in_time_is_answered_whole(connect: Callable[..., socket.socket]) -> None:
    prompt = connect(head_seconds=30, reader_seconds=30, most_head_bytes=1000)
    prompt.sendall(GET)
    assert read_all(prompt) > 100 * len(BODY)
