"""Kafka's protocol on the wire: which APIs in which versions, and bytes to and from kio's classes.

Handlers speak the newest version offered of each API. An older request is lifted to it field by
field; an older response is written from the newest one, whose fields include its own (kio's writers
take fields by name). The few APIs whose shape changed are adapted in `old_shapes`.
"""

from __future__ import annotations

import io
import struct
import sys
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.serial.errors import SerialError
from kio.static.primitive import i32

if TYPE_CHECKING:
    from collections.abc import Callable

    from kio.static.protocol import Entity

_SIZE: Final = struct.Struct(">i")
_HEAD: Final = struct.Struct(">hhi")
_SMALL_BYTES: Final = 4096
PRODUCE: Final = 0
FETCH: Final = 1
LIST_OFFSETS: Final = 2
METADATA: Final = 3
OFFSET_COMMIT: Final = 8
OFFSET_FETCH: Final = 9
FIND_COORDINATOR: Final = 10
JOIN_GROUP: Final = 11
HEARTBEAT: Final = 12
LEAVE_GROUP: Final = 13
SYNC_GROUP: Final = 14
DESCRIBE_GROUPS: Final = 15
LIST_GROUPS: Final = 16
API_VERSIONS: Final = 18
CREATE_TOPICS: Final = 19
DELETE_TOPICS: Final = 20
DELETE_RECORDS: Final = 21
INIT_PRODUCER_ID: Final = 22
DESCRIBE_CONFIGS: Final = 32
DELETE_GROUPS: Final = 42
DESCRIBE_CLUSTER: Final = 60


@dataclass(frozen=True, slots=True)
class Api:
    """One request type as Kafka names it, and the versions in which it is taken."""

    key: int
    name: str
    oldest: int
    newest: int
    advertised_oldest: int

    def takes(self, version: int) -> bool:
        """Whether a request in this version can be answered."""
        return self.oldest <= version <= self.newest


def _offer(
    key: int, name: str, oldest: int, newest: int, advertised_oldest: int | None = None
) -> Api:
    advertised = oldest if advertised_oldest is None else advertised_oldest
    return Api(key, name, oldest, newest, advertised)


APIS: Final[dict[int, Api]] = {
    api.key: api
    for api in (
        # With 3 as the oldest, older librdkafka sends everything uncompressed (KAFKA-18659).
        _offer(PRODUCE, "Produce", 3, 12, advertised_oldest=0),
        _offer(FETCH, "Fetch", 4, 12),
        _offer(LIST_OFFSETS, "ListOffsets", 1, 9),
        _offer(METADATA, "Metadata", 0, 13),
        _offer(OFFSET_COMMIT, "OffsetCommit", 2, 9),
        _offer(OFFSET_FETCH, "OffsetFetch", 1, 9),
        _offer(FIND_COORDINATOR, "FindCoordinator", 0, 6),
        _offer(JOIN_GROUP, "JoinGroup", 0, 9),
        _offer(HEARTBEAT, "Heartbeat", 0, 4),
        _offer(LEAVE_GROUP, "LeaveGroup", 0, 5),
        _offer(SYNC_GROUP, "SyncGroup", 0, 5),
        _offer(DESCRIBE_GROUPS, "DescribeGroups", 0, 6),
        _offer(LIST_GROUPS, "ListGroups", 0, 5),
        _offer(API_VERSIONS, "ApiVersions", 0, 4),
        _offer(CREATE_TOPICS, "CreateTopics", 2, 7),
        _offer(DELETE_TOPICS, "DeleteTopics", 1, 6),
        _offer(DELETE_RECORDS, "DeleteRecords", 0, 2),
        _offer(INIT_PRODUCER_ID, "InitProducerId", 0, 5),
        _offer(DESCRIBE_CONFIGS, "DescribeConfigs", 1, 4),
        _offer(DELETE_GROUPS, "DeleteGroups", 0, 2),
        _offer(DESCRIBE_CLUSTER, "DescribeCluster", 0, 2),
    )
}


_WRITTEN_AS_NEWEST_SINCE: Final = {PRODUCE: 10}
"""Same bytes in these versions. kio leaves a tagged field out when it equals its default, which an
empty `current_leader` of another version's class does not: librdkafka then looks for leader -1."""


class ProtocolError(Exception):
    """The bytes are no request this broker can answer; the connection is closed."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Who asks what, in which version; `correlation_id` goes back with the answer."""

    api_key: int
    version: int
    correlation_id: int
    client_id: str


def read_request(frame: bytes) -> tuple[RequestHead, Any]:
    """The head and the request (as kio's class of the version asked) in a frame without its size.

    An ApiVersions request in an unknown version comes without a body (None), to be answered in
    version 0. Raises ProtocolError for anything else that can't be read.
    """
    try:
        api_key, version, correlation_id = _HEAD.unpack_from(frame)
    except struct.error as error:
        raise ProtocolError(f"a frame of {len(frame)} bytes") from error
    api = APIS.get(api_key)
    if api is None:
        raise ProtocolError(f"API {api_key} is not offered")
    if not api.takes(version):
        if api_key == API_VERSIONS:
            return RequestHead(api_key, version, correlation_id, ""), None
        raise ProtocolError(
            f"API {api_key} version {version} asked, {api.oldest} to {api.newest} offered"
        )
    read_head, read_body = _readers(api_key, version)
    try:
        head, position = read_head(frame, 0)
        body, _ = read_body(frame, position)
    except (SerialError, ValueError, IndexError, TypeError) as error:
        raise ProtocolError(f"API {api_key} version {version}: {error}") from error
    return RequestHead(api_key, version, correlation_id, head.client_id or ""), body


@cache
def _readers(api_key: int, version: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    schema = load_request_schema(api_key, version)
    return entity_reader(schema.__header_schema__), entity_reader(schema)


class Chunks(io.RawIOBase):
    """A writable that keeps large pieces as they are and joins small ones."""

    def __init__(self) -> None:
        super().__init__()
        self._tail = bytearray(_SIZE.size)
        self._done: list[bytes | bytearray] = []
        self._length = 0

    def write(self, data: Any) -> int:
        """Add bytes; those of a few KiB and more are not copied."""
        length = len(data)
        self._length += length
        if length < _SMALL_BYTES:
            self._tail += data
        else:
            self._done += (self._tail, data)
            self._tail = bytearray()
        return length

    def framed(self) -> list[bytes | bytearray]:
        """All pieces in order, the first beginning with the size of the rest."""
        pieces = [*self._done, self._tail]
        first = pieces[0]
        assert isinstance(first, bytearray)
        _SIZE.pack_into(first, 0, self._length)
        return pieces


def write_response(head: RequestHead, version: int, response: Any) -> list[bytes | bytearray]:
    """The frame that answers `head` with `response`, in pieces to be written one after another."""
    write_head, make_head, write_body = _writers(head.api_key, version)
    chunks = Chunks()
    write_head(chunks, make_head(correlation_id=i32(head.correlation_id)))
    write_body(chunks, response)
    return chunks.framed()


@cache
def _writers(
    api_key: int, version: int
) -> tuple[Callable[..., None], Callable[..., Any], Callable[..., None]]:
    if version >= _WRITTEN_AS_NEWEST_SINCE.get(api_key, sys.maxsize):
        version = APIS[api_key].newest
    schema = load_response_schema(api_key, version)
    # kio knows that an ApiVersions response carries header version 0 in all its versions.
    head: Any = schema.__header_schema__
    return entity_writer(head), head, entity_writer(schema)


@cache
def newest_request(api_key: int) -> type[Entity]:
    """The class in which handlers get an API's requests."""
    return load_request_schema(api_key, APIS[api_key].newest)


def lift(request: Any, target: type[Any]) -> Any:
    """`request`, of an older version, as `target`; what it lacks takes the field's default."""
    return request if type(request) is target else _lifter(type(request), target)(request)


_lifters: dict[tuple[type, type], Callable[[Any], Any]] = {}


def _lifter(source: type[Any], target: type[Any]) -> Callable[[Any], Any]:
    known = _lifters.get((source, target))
    if known is None:
        known = _lifters[source, target] = _make_lifter(source, target)
    return known


def _make_lifter(source: type[Any], target: type[Any]) -> Callable[[Any], Any]:
    there = {field.name for field in fields(source)}
    hints, source_hints = typing.get_type_hints(target), typing.get_type_hints(source)
    copied: list[tuple[str, Callable[[Any], Any] | None]] = []
    absent: dict[str, Any] = {}
    for field in fields(target):
        if field.name not in there:
            absent[field.name] = _default(field.default, hints[field.name])
            continue
        inner, source_inner = _entity(hints[field.name]), _entity(source_hints[field.name])
        lifter = _lifter(source_inner, inner) if inner and source_inner else None
        copied.append((field.name, lifter))

    def run(request: Any) -> Any:
        values = dict(absent)
        for name, lifter in copied:
            value = getattr(request, name)
            if lifter is not None and value is not None:
                many = isinstance(value, tuple)
                value = tuple(map(lifter, value)) if many else lifter(value)
            values[name] = value
        return target(**values)

    return run


def _default(default: Any, hint: Any) -> Any:
    if default is not MISSING:
        return default
    if typing.get_origin(hint) is tuple:
        return ()
    if type(None) in typing.get_args(hint):
        return None
    return {bool: False, str: ""}.get(hint, 0)


def _entity(hint: Any) -> type[Any] | None:
    for candidate in (hint, *typing.get_args(hint)):
        for inner in (candidate, *typing.get_args(candidate)):
            if isinstance(inner, type) and is_dataclass(inner):
                return inner
    return None
