"""A TCP proxy that can be told to misbehave; it runs in a thread of the driver.

It knows just enough HTTP to tell the commit of a Delta table from other requests.
"""

from __future__ import annotations

import asyncio
import random
import threading
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536


class FaultyProxy:
    """Listens on a free port of 127.0.0.1 and passes on to `target_port`, as long as it is well."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self._refusing = False
        self._delay_seconds = 0.0
        self._failing = 0
        self._answers_to_lose = 0
        self.answers_lost = 0
        self._flowing = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
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

    # --- faults, from any thread

    def cut(self, share: float = 1.0, dice: random.Random | None = None) -> None:
        """Reset connections that are open: all, or each with this chance."""

        def reset() -> None:
            for connection in list(self._connections):
                if dice is None or dice.random() < share:
                    connection.cancel()

        self._loop.call_soon_threadsafe(reset)

    def refuse(self) -> None:
        """Cut all, and let no new one in."""
        self._refusing = True
        self.cut()

    def hang(self) -> None:
        """Connections stay, and nothing comes through."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def delay(self, seconds: float) -> None:
        """Each chunk comes so much later."""
        self._delay_seconds = seconds

    def fail_requests(self, count: int) -> None:
        """Answer so many HTTP requests with 503, and do not pass them on."""
        self._failing = count

    def lose_answers(self, count: int) -> None:
        """Pass so many Delta commits on, and cut their connections instead of answering."""
        self._answers_to_lose = count

    def heal(self) -> None:
        """All is well again."""
        self._refusing = False
        self._delay_seconds = 0.0
        self._failing = self._answers_to_lose = 0
        self._loop.call_soon_threadsafe(self._flowing.set)

    # --- in the thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._flowing.set()
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            self._loop.run_until_complete(asyncio.wait(self._connections))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._refusing:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        connection = _Connection()
        ways = [
            asyncio.create_task(self._requests(reader, target_writer, writer, connection)),
            asyncio.create_task(self._answers(target_reader, writer, connection)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
            target_writer.transport.abort()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        connection: _Connection,
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._wait()
            head = chunk.split(b"\r\n", 1)[0]
            if head.endswith(b" HTTP/1.1"):
                if self._failing:
                    self._failing -= 1
                    back.write(
                        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n"
                        b"connection: close\r\n\r\n"
                    )
                    await back.drain()
                    return
                if self._answers_to_lose and head.startswith(b"PUT ") and b"_delta_log/" in head:
                    self._answers_to_lose -= 1
                    connection.loses_answer = True
            target.write(chunk)
            await target.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, connection: _Connection
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._wait()
            if connection.loses_answer and not chunk.startswith(b"HTTP/1.1 100"):
                self.answers_lost += 1
                return
            back.write(chunk)
            await back.drain()

    async def _wait(self) -> None:
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        await self._flowing.wait()


class _Connection:
    """What is known of one connection."""

    def __init__(self) -> None:
        self.loses_answer = False
