"""CloudEvents 1.0 over HTTP: which calls are events, in which mode, and what an event says.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
Whatever the mode, an event's record is the event in the CloudEvents JSON format, as a sender in
structured mode would have sent it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

import orjson

from headrace.producers.webhook.headers import Headers

STRUCTURED_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
_PREFIX: Final = "ce-"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]{1,100}\Z")
_MAX_ID_CHARACTERS: Final = 1_000


class Mode(StrEnum):
    """How an event stands in a call."""

    STRUCTURED = "structured"
    BINARY = "binary"
    BATCH = "batch"


class NoCloudEventError(ValueError):
    """A call says that it is a CloudEvent, and is none; the text says why, and may be answered."""


class UnknownFormatError(NoCloudEventError):
    """A CloudEvent in another format than JSON."""


@dataclass(frozen=True, slots=True)
class EventName:
    """What tells an event from all others: both together."""

    source: str
    id: str

    def __str__(self) -> str:
        """Another text for each: one space in it, or two where a part of it has some itself."""
        if " " not in self.source + self.id:
            return f"{self.source} {self.id}"
        source, id_ = (p.replace("%", "%25").replace(" ", "%20") for p in (self.source, self.id))
        return f"{source}  {id_}"


def mode_of(headers: Headers) -> Mode | None:
    """The mode of a call; None where it is no event. Raises `UnknownFormatError`."""
    content_type = headers.content_type
    if content_type == STRUCTURED_TYPE:
        return Mode.STRUCTURED
    if content_type == BATCH_TYPE:
        return Mode.BATCH
    if content_type.startswith("application/cloudevents"):
        raise UnknownFormatError(
            f"expected {STRUCTURED_TYPE}, {BATCH_TYPE} or an event in binary mode"
        )
    return Mode.BINARY if headers.all(f"{_PREFIX}specversion") else None


def name_of(mode: Mode, headers: Headers, body: bytes) -> EventName | None:
    """The name of the event in a call; None for a batch. Raises `NoCloudEventError`."""
    if mode is Mode.BINARY:
        return _name_in(attributes_of(headers))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NoCloudEventError("the body is not JSON") from error
    if mode is Mode.BATCH:
        if not isinstance(value, list):
            raise NoCloudEventError("expected an array of events")
        for event in value:
            _name_in(event)
        return None
    return _name_in(value)


def _name_in(event: object) -> EventName:
    if not isinstance(event, dict):
        raise NoCloudEventError("expected an event")
    for name in _REQUIRED:
        value = event.get(name)
        if not isinstance(value, str) or not value:
            raise NoCloudEventError(f"an event without {name}")
        if len(value) > _MAX_ID_CHARACTERS:
            raise NoCloudEventError(f"an event whose {name} is too long")
    if not event["specversion"].startswith("1."):
        raise NoCloudEventError("expected specversion 1.0")
    return EventName(event["source"], event["id"])


def attributes_of(headers: Headers) -> dict[str, str]:
    """The attributes of an event in binary mode. Raises `NoCloudEventError`."""
    attributes = {}
    for name, value in headers.starting(_PREFIX).items():
        if not _ATTRIBUTE.match(name):
            raise NoCloudEventError("an attribute whose name is not of letters and digits")
        if name in ("data", "data_base64", "datacontenttype"):
            raise NoCloudEventError(f"{name} is no attribute of an event in binary mode")
        attributes[name] = _decoded(value)
    if content_type := headers.only("content-type"):
        attributes["datacontenttype"] = content_type
    return attributes


def around_data(headers: Headers, member: str | None) -> tuple[str, str]:
    """What stands before and after the data of an event in binary mode to make it structured.

    `member`: what the data is called there; None where there is none.
    """
    members = orjson.dumps(attributes_of(headers)).decode()
    return members[:-1] + ("" if member is None else f',"{member}":'), "}"


def _decoded(value: str) -> str:
    """A header's value: percent-encoded, and sometimes in quotes (section 3.1.3.2)."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeDecodeError as error:
        raise NoCloudEventError("an attribute that is not UTF-8, percent-encoded") from error
