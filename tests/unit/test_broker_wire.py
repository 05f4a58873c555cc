"""Every version of every API that is offered can be read, handled and answered."""

from __future__ import annotations

import asyncio
import io
import typing
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i16, i32

from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.wire import APIS, Chunks

EVERY = [(a.key, v) for a in APIS.values() for v in range(a.oldest, a.newest + 1)]
NEEDS_BODY = {
    "acks": i16(1),
    "group_id": "g",
    "key": "g",
    "protocol_type": "consumer",
    "name": "there",
}


def minimal(schema: type[Any]) -> Any:
    """An instance with as little as can be, but one entry in each list of structs."""
    hints = typing.get_type_hints(schema)
    values: dict[str, Any] = {}
    for entry in fields(schema):
        hint = hints[entry.name]
        inner = [t for t in (hint, *typing.get_args(hint)) if hasattr(t, "__type__")]
        for candidate in typing.get_args(hint):
            inner += [t for t in typing.get_args(candidate) if hasattr(t, "__type__")]
        if inner:
            values[entry.name] = (minimal(inner[0]),)
        elif entry.name in NEEDS_BODY:
            values[entry.name] = NEEDS_BODY[entry.name]
        elif entry.default is not MISSING:
            continue
        else:
            values[entry.name] = plain(hint)
    return schema(**values)


def plain(hint: Any) -> Any:
    import datetime as dt

    options = [hint, *typing.get_args(hint)]
    if UUID in options or type(None) in options:
        return None
    if typing.get_origin(hint) is tuple:
        return ()
    if issubclass(hint, dt.timedelta):
        return dt.timedelta(seconds=10)
    if issubclass(hint, bytes):
        return b""
    if issubclass(hint, str):
        return ""
    return False if hint is bool else hint(0)


async def ask(port: int, key: int, version: int, body: bytes | None = None) -> tuple[Any, bytes]:
    """Send the smallest request of a version; the response, and what was left of its bytes."""
    schema = load_request_schema(key, version)
    frame = io.BytesIO()
    head: Any = schema.__header_schema__
    values: dict[str, Any] = {} if version == 0 and key == 7 else {"client_id": "test"}
    entity_writer(head)(
        frame,
        head(
            request_api_key=i16(key),
            request_api_version=i16(version),
            correlation_id=i32(77),
            **values,
        ),
    )
    if body is None:
        entity_writer(schema)(frame, minimal(schema))
    else:
        frame.write(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(len(frame.getvalue()).to_bytes(4, "big") + frame.getvalue())
        size = int.from_bytes(await reader.readexactly(4), "big")
        answer = await reader.readexactly(size)
    finally:
        writer.close()
    response_schema = load_response_schema(key, version)
    answer_head, position = entity_reader(response_schema.__header_schema__)(answer, 0)
    assert answer_head.correlation_id == 77
    response, length = entity_reader(response_schema)(answer, position)
    again = io.BytesIO()
    entity_writer(response_schema)(again, response)
    assert again.getvalue() == answer[position:], "what the schema alone would write"
    return response, answer[position + length :]


@pytest.fixture
async def server(tmp_path: Path) -> typing.AsyncIterator[BrokerServer]:
    async with BrokerServer(tmp_path / "broker") as running:
        yield running


@pytest.mark.parametrize(("key", "version"), EVERY)
async def test_every_offered_version_is_answered_in_its_own_shape(
    server: BrokerServer, key: int, version: int
) -> None:
    response, left = await asyncio.wait_for(ask(server.port, key, version), 10)
    assert left == b""
    assert type(response) is load_response_schema(key, version)


async def test_an_unknown_version_of_api_versions_is_told_what_there_is(
    server: BrokerServer,
) -> None:
    body = b"\x00\x12\x00\x63\x00\x00\x00\x4d\xff\xff"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(len(body).to_bytes(4, "big") + body)
    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
    writer.close()
    schema = load_response_schema(18, 0)
    response: Any
    response, length = entity_reader(schema)(answer, 4)
    assert length + 4 == len(answer)
    assert response.error_code is ErrorCode.unsupported_version
    assert {a.api_key: (a.min_version, a.max_version) for a in response.api_keys} == {
        api.key: (api.advertised_oldest, api.newest) for api in APIS.values()
    }


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x04abcd",
        b"\x00\x00\x00\x0a\x00\x03\x00\x09\x00\x00\x00\x01\x00\x05",
        b"\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_nonsense_closes_its_connection_and_no_other(
    server: BrokerServer, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    response, _ = await ask(server.port, 18, 0)
    assert response.error_code is ErrorCode.none


def test_pieces_keep_their_order_and_large_ones_are_not_copied() -> None:
    chunks = Chunks()
    large = b"x" * 10_000
    for piece in (b"ab", large, b"c", large, b"d"):
        chunks.write(piece)
    framed = chunks.framed()
    assert b"".join(framed) == (20_004).to_bytes(4, "big") + b"ab" + large + b"c" + large + b"d"
    assert sum(piece is large for piece in framed) == 2
