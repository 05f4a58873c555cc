"""The proxy of the fault tests does to connections what it is told, and to no others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from faults.proxy import FaultyProxy

_SECONDS = 20.0
_SILENCE_SECONDS = 0.2
_COMMIT = b"PUT /lake/bronze/sales/_delta_log/00000000000000000007.json HTTP/1.1\r\n\r\n"
_CHECKPOINT = b"PUT /lake/bronze/sales/_delta_log/_last_checkpoint HTTP/1.1\r\n\r\n"


class EchoServer:
    """Says back what it hears; as an HTTP server, `200` to each request it notes in `heard`."""

    def __init__(self, stack: ExitStack) -> None:
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._stack = stack
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.ended = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(4096):
                self.heard.append(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if b" HTTP/1.1" in data else data)
        except OSError:
            pass
        finally:
            connection.close()
            self.ended.release()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(stack: ExitStack) -> EchoServer:
    return EchoServer(stack)


@pytest.fixture
def proxy(stack: ExitStack, server: EchoServer) -> FaultyProxy:
    return stack.enter_context(FaultyProxy(server.port))


@pytest.fixture
def connect(stack: ExitStack, proxy: FaultyProxy) -> Callable[[], socket.socket]:
    def client() -> socket.socket:
        return stack.enter_context(
            socket.create_connection(("127.0.0.1", proxy.port), timeout=_SECONDS)
        )

    return client


def ask(client: socket.socket, text: bytes = b"hello") -> bytes:
    """What comes back; nothing where the connection is reset or closed."""
    try:
        client.sendall(text)
        return client.recv(4096)
    except ConnectionError:
        return b""


def is_silent(client: socket.socket) -> bool:
    client.settimeout(_SILENCE_SECONDS)
    try:
        client.recv(4096)
    except TimeoutError:
        return True
    finally:
        client.settimeout(_SECONDS)
    return False


def port_of(client: socket.socket) -> int:
    port: int = client.getsockname()[1]
    return port


def test_one_client_is_cut_and_the_other_is_not(
    proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    one, other = connect(), connect()
    assert ask(one) == ask(other) == b"hello"
    proxy.cut(whose=lambda port: port == port_of(one))
    assert ask(one) == b""
    assert ask(other) == ask(connect()) == b"hello"


def test_who_is_refused_gets_no_answer_until_it_heals(
    proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    known = connect()
    assert ask(known) == b"hello"
    proxy.refuse(whose=lambda port: port != port_of(known))
    assert ask(connect()) == b""
    assert ask(known) == b"hello"
    proxy.refuse()
    assert ask(known) == b""
    proxy.heal()
    assert ask(connect()) == b"hello"


@pytest.mark.parametrize(("way", "arrives"), [("there", False), ("back", True)])
def test_what_hangs_comes_through_when_it_heals(
    server: EchoServer,
    proxy: FaultyProxy,
    connect: Callable[[], socket.socket],
    way: str,
    arrives: bool,
) -> None:
    client = connect()
    assert ask(client, b"before") == b"before"
    proxy.hang("there" if way == "there" else "back")
    client.sendall(b"meanwhile")
    assert is_silent(client)
    assert (b"meanwhile" in server.heard) is arrives
    proxy.heal()
    assert client.recv(4096) == b"meanwhile"


def test_a_connection_whose_server_is_gone_stays_open_and_silent(
    server: EchoServer, proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    client = connect()
    assert ask(client) == b"hello"
    proxy.leave_half_open("server")
    client.sendall(b"to nobody")
    assert is_silent(client)
    assert server.ended.acquire(timeout=_SECONDS), "the server's end is open"
    assert b"to nobody" not in server.heard
    assert ask(connect()) == b"hello"


def test_a_server_is_not_told_that_its_client_is_gone(
    server: EchoServer, proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    client = connect()
    assert ask(client) == b"hello"
    proxy.leave_half_open("client")
    assert ask(client) == b""
    assert not server.ended.acquire(timeout=_SILENCE_SECONDS)


def test_requests_fail_as_often_as_they_are_told_to(
    server: EchoServer, proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    proxy.fail_requests(2, status=500)
    assert [ask(connect(), _COMMIT)[:12] for _ in range(3)] == [
        *(b"HTTP/1.1 500", b"HTTP/1.1 500", b"HTTP/1.1 200")
    ]
    assert server.heard == [_COMMIT]


def test_the_answer_to_a_commit_is_lost_though_it_went_through(
    server: EchoServer, proxy: FaultyProxy, connect: Callable[[], socket.socket]
) -> None:
    proxy.lose_answers(1)
    assert ask(connect(), _CHECKPOINT).startswith(b"HTTP/1.1 200")
    assert ask(connect(), _COMMIT) == b""
    assert server.heard == [_CHECKPOINT, _COMMIT]
    assert proxy.answers_lost == 1
    assert ask(connect(), _COMMIT).startswith(b"HTTP/1.1 200")
