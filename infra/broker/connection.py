"""One client connection: frames in, handlers started in order, answers out in the same order."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import structlog

from headrace.infra.broker.call import Call
from headrace.infra.broker.old_shapes import asked_shape, newest_shape
from headrace.infra.broker.wire import (
    API_VERSIONS,
    APIS,
    ProtocolError,
    RequestHead,
    read_request,
    write_response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.infra.broker.call import Handler

_log = structlog.get_logger("broker")
_SIZE: Final = struct.Struct(">i")
_MOST_IN_FLIGHT: Final = 64
"""Requests of one connection being handled; further ones wait in the socket."""

_Pending = tuple[RequestHead, asyncio.Task[Any]]


class Connection:
    """Serves one client until it goes, sends what can't be read, or a handler fails."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handlers: Mapping[int, Handler],
        call: Call,
        max_request_bytes: int,
        requests: dict[int, int],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._call = call
        self._max_request_bytes = max_request_bytes
        self._requests = requests
        self._pending: asyncio.Queue[_Pending] = asyncio.Queue(_MOST_IN_FLIGHT)

    async def serve(self) -> None:
        """Run to the end of the connection. Raises what a handler raised."""
        answering = asyncio.create_task(self._answer())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait((reading, answering), return_when=asyncio.FIRST_COMPLETED)
            # An append asked for with acks=0 just before the client went must have its turn.
            await asyncio.sleep(0)
            for task in done:
                task.result()
        finally:
            await self._stop(reading, answering)

    async def _read(self) -> None:
        while True:
            try:
                size = _SIZE.unpack(await self._reader.readexactly(_SIZE.size))[0]
                if not 0 < size <= self._max_request_bytes:
                    raise ProtocolError(
                        f"a request of {size} bytes, at most {self._max_request_bytes} expected"
                    )
                frame = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            head, request = read_request(frame)
            del frame
            self._requests[head.api_key] += 1
            call = replace(self._call, version=head.version, client_id=head.client_id)
            newest = newest_shape(head.api_key, head.version, request)
            # Tasks start in the order they were made, so appends keep the order of requests; only
            # their answers may have to wait (fsync, long polls).
            task = asyncio.create_task(_handle(self._handlers[head.api_key], newest, call))
            await self._pending.put((head, task))

    async def _answer(self) -> None:
        while True:
            head, task = await self._pending.get()
            try:
                response = await task
            except asyncio.CancelledError:
                task.cancel()
                raise
            if response is None:
                continue
            version = head.version
            if head.api_key == API_VERSIONS and not APIS[API_VERSIONS].takes(version):
                version = 0
            shaped = asked_shape(head.api_key, version, response)
            try:
                self._writer.writelines(write_response(head, version, shaped))
                await self._writer.drain()
            except ConnectionError:
                return

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        waiting = []
        while not self._pending.empty():
            _, task = self._pending.get_nowait()
            task.cancel()
            waiting.append(task)
        await asyncio.gather(*waiting, return_exceptions=True)


async def _handle(handler: Handler, request: Any, call: Call) -> Any:
    return await handler(request, call)
