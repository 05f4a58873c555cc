"""One request of Kafka's protocol on a connection of its own, and its answer."""

from __future__ import annotations

import asyncio
import io
from typing import Any, TypeVar

from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

from support.broker_clients import DEADLINE_SECONDS

_Answer = TypeVar("_Answer")


async def ask(address: str, request: Any, answer: type[_Answer]) -> _Answer:
    """Send `request`, one of kio's entities, and read the answer as `answer`."""
    head = type(request).__header_schema__(
        request_api_key=i16(type(request).__api_key__),
        request_api_version=i16(type(request).__version__),
        correlation_id=i32(1),
        client_id="test",
    )
    frame = io.BytesIO()
    entity_writer(type(head))(frame, head)
    entity_writer(type(request))(frame, request)
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(len(frame.getvalue()).to_bytes(4, "big") + frame.getvalue())
            size = int.from_bytes(await reader.readexactly(4), "big")
            got = await reader.readexactly(size)
        finally:
            writer.close()
    schema: Any = answer
    _, position = entity_reader(schema.__header_schema__)(got, 0)
    read, length = entity_reader(schema)(got, position)
    assert position + length == len(got)
    return read
