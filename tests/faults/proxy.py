"""A TCP proxy that can be told to misbehave; it runs in a thread of the driver.

It tells clients apart by the port they come from, so that one of several that talk to a server can
be struck alone; and it knows just enough HTTP to tell the commit of a Delta table from other
requests.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

_CHUNK_BYTES = 65_536
_COMMIT = re.compile(rb"PUT \S*_delta_log/\d{20}\.json[? ]")

Whose = Callable[[int], bool]
"""Told the port that a client came from: whether it is meant."""

Way = Literal["there", "back"]
"""From the client to the server, or from the server to the client."""


def anyones(_: int) -> bool:
    """All clients are meant."""
    return True


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What goes wrong until it heals, and for whom."""

    whose: Whose = anyones
    refused: bool = False
    hanging: frozenset[Way] = frozenset()
    delay_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Connection:
    """A client's connection. `judged`: the trouble that `struck` was found out for."""

    port: int
    client: asyncio.StreamWriter
    task: asyncio.Task[None]
    server: asyncio.StreamWriter | None = None
    half_open: bool = False
    loses_answer: bool = False
    judged: _Trouble | None = None
    struck: bool = False


class FaultyProxy:
    """Listens on a free port of 127.0.0.1 and passes on to `target_port`, as long as it is well.

    One trouble at a time: a new one takes the place of the one before. `struck`: how many
    connections something was done to, `answers_lost`: of commits that went through.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.struck = 0
        self.answers_lost = 0
        self._trouble = _Trouble()
        self._changed = asyncio.Event()
        self._requests_to_fail = 0
        self._failing_as: tuple[int, Whose] = (503, anyones)
        self._answers_to_lose = 0
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # --- faults, from any thread; each returns when it is so

    def cut(
        self, share: float = 1.0, dice: random.Random | None = None, whose: Whose = anyones
    ) -> None:
        """Reset connections that are open: all, or each with this chance."""

        def reset() -> None:
            for connection in list(self._connections):
                if (dice is None or dice.random() < share) and whose(connection.port):
                    self.struck += 1
                    connection.task.cancel()

        self._do(reset)

    def leave_half_open(self, gone: Literal["client", "server"], whose: Whose = anyones) -> None:
        """One end of each connection is gone, and the other is never told; new ones work."""

        def leave() -> None:
            for connection in self._connections:
                if connection.server is not None and whose(connection.port):
                    self.struck += 1
                    connection.half_open = True
                    left = connection.client if gone == "client" else connection.server
                    left.transport.abort()

        self._do(leave)

    def refuse(self, whose: Whose = anyones) -> None:
        """Cut all, and let no new one in."""
        self._set(_Trouble(whose, refused=True))
        self.cut(whose=whose)

    def hang(self, *ways: Way, whose: Whose = anyones) -> None:
        """Connections stay, and nothing comes through: this way, or (left out) both ways."""
        self._set(_Trouble(whose, hanging=frozenset(ways or ("there", "back"))))

    def delay(self, seconds: float, whose: Whose = anyones) -> None:
        """Each chunk comes so much later."""
        self._set(_Trouble(whose, delay_seconds=seconds))

    def fail_requests(self, count: int, status: int = 503, whose: Whose = anyones) -> None:
        """Answer so many HTTP requests with this status, and do not pass them on."""
        self._requests_to_fail, self._failing_as = count, (status, whose)

    def lose_answers(self, count: int) -> None:
        """Pass so many Delta commits on, and cut their connections instead of saying 200."""
        self._answers_to_lose = count

    def heal(self) -> None:
        """All is well again, but for connections that were left half open."""
        self._requests_to_fail = self._answers_to_lose = 0
        self._set(_Trouble())

    # --- in the thread

    def _do(self, act: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait()

    def _set(self, trouble: _Trouble) -> None:
        def change() -> None:
            self._trouble = trouble
            # Whoever waits looks again.
            self._changed.set()
            self._changed = asyncio.Event()

        self._do(change)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()

    def _troubled(self, connection: _Connection) -> _Trouble | None:
        """The trouble, where it is this connection's."""
        if connection.judged is not self._trouble:
            connection.judged = self._trouble
            connection.struck = self._trouble.whose(connection.port)
            self.struck += connection.struck and self._trouble != _Trouble()
        return self._trouble if connection.struck else None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(writer.get_extra_info("peername")[1], writer, task)
        self._connections.add(connection)
        try:
            trouble = self._troubled(connection)
            if trouble is None or not trouble.refused:
                await self._pass_on(reader, connection)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        server_reader, server = await asyncio.open_connection("127.0.0.1", self.target_port)
        if server.get_extra_info("sockname") == server.get_extra_info("peername"):
            # Nobody listens there, and this end was given that very port.
            server.transport.abort()
            return
        connection.server = server
        ways = [
            asyncio.create_task(self._there(reader, connection, server)),
            asyncio.create_task(self._back(server_reader, connection)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            try:
                if connection.half_open:
                    # Whatever the end that is left says goes nowhere, until it gives up.
                    await _swallow(reader)
                    await _swallow(server_reader)
            finally:
                server.transport.abort()

    async def _there(
        self, reader: asyncio.StreamReader, connection: _Connection, server: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._wait(connection, "there")
            if connection.half_open:
                return
            head = chunk.split(b"\r\n", 1)[0]
            if head.endswith(b" HTTP/1.1"):
                status, whose = self._failing_as
                if self._requests_to_fail and whose(connection.port):
                    self._requests_to_fail -= 1
                    self.struck += 1
                    connection.client.write(
                        b"HTTP/1.1 %d No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
                    )
                    await connection.client.drain()
                    return
                connection.loses_answer = bool(self._answers_to_lose and _COMMIT.match(head))
            server.write(chunk)
            await server.drain()

    async def _back(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._wait(connection, "back")
            if connection.half_open:
                return
            if (
                connection.loses_answer
                and chunk.startswith(b"HTTP/1.1 200")
                and self._answers_to_lose
            ):
                self._answers_to_lose -= 1
                self.answers_lost += 1
                return
            connection.client.write(chunk)
            await connection.client.drain()

    async def _wait(self, connection: _Connection, way: Way) -> None:
        while (trouble := self._troubled(connection)) is not None and way in trouble.hanging:
            await self._changed.wait()
        if trouble is not None and trouble.delay_seconds:
            await asyncio.sleep(trouble.delay_seconds)


async def _swallow(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(_CHUNK_BYTES):
            pass
