"""How a call's body becomes records: decided once, and frozen in the delivery's reading.

| body | records |
|---|---|
| a JSON object | one, as it is |
| a JSON array | its elements |
| JSON, with `records` of the source | what that JMESPath finds; broken before: as without it |
| `application/x-ndjson` | one a line |
| a form | one: its fields |
| anything else | one: `{"body": "text"}`, or `{"body_base64": "..."}` where it is no text |
| a CloudEvent in any mode | one an event, in the CloudEvents JSON format |
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal
from urllib.parse import parse_qsl

import orjson
from pydantic import TypeAdapter

from headrace.config_webhook import WebhookSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.delivery import Exchange
from headrace.producers.files.json.reading import json_pieces
from headrace.producers.files.json.records import Piece
from headrace.producers.files.reading import Reading
from headrace.producers.files.text_encoding import open_as_utf8
from headrace.producers.webhook.cloud_events import Mode, around_data, mode_of
from headrace.producers.webhook.headers import Headers
from headrace.stream import Stream

HEADERS_MEMBER: Final = "_headers"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_LINES_TYPES: Final = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
_MAX_FIELDS: Final = 10_000
_BLANK: Final = b" \t\r\n"

Kind = Literal["json", "form", "text", "value", "string", "base64", "nothing"]


_DATA_MEMBERS: Final[dict[Kind, str | None]] = {"base64": "data_base64", "nothing": None}


@dataclass(frozen=True, slots=True)
class CallReading:
    """What a call's records depend on beside its body.

    `kind`: the last four are of the data of a CloudEvent in binary mode. `before` and `after` stand
    around each record, `members` in it. `received_at`: in UTC, as ISO 8601.
    """

    kind: Kind
    received_at: str
    encoding: str = "utf-8"
    before: str = ""
    after: str = ""
    members: str = ""

    def to_json(self) -> str:
        """As text, to stand in a reading."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> CallReading:
        """What `to_json` wrote; raises ValueError where it is something else."""
        return _READING.validate_json(text)

    @property
    def arrival(self) -> datetime:
        """When the call came: it may have been a delivery much later."""
        return datetime.fromisoformat(self.received_at)


_READING: Final = TypeAdapter(CallReading)


def decide_call_reading(
    payload: Path, exchange: Exchange, source: WebhookSource, stream: Stream
) -> Reading:
    """How the call with this body is read. Raises `OSError`."""
    headers = Headers(exchange.headers)
    mode = mode_of(headers)
    body = payload.read_bytes()
    content_type = headers.content_type
    lines = mode is None and content_type in _LINES_TYPES
    kind: Kind = "json"
    before = after = ""
    encoding = _encoding(headers)
    if mode is Mode.BINARY:
        kind = _kind_of_data(content_type, body, encoding)
        before, after = around_data(headers, _DATA_MEMBERS.get(kind, "data"))
    elif mode is None and not lines and not _says_json(content_type) and not _is_json(body):
        form = content_type == _FORM_TYPE and body.count(b"&") < _MAX_FIELDS
        kind = "form" if form else "text"
    call = CallReading(
        kind,
        exchange.received_at.isoformat(),
        encoding,
        before,
        after,
        _members(source, headers),
    )
    reading = Reading(
        format="ndjson" if lines else "json",
        records_path=source.records if kind == "json" and mode is None and not lines else None,
        path_table="",
        call=call.to_json(),
        event_time_from=stream.event_time.from_,
        event_time_column=stream.event_time.column,
        event_time_format=stream.event_time.format,
        event_time_pattern=stream.event_time.pattern,
        timezone=stream.timezone,
    )
    if reading.records_path is None or _is_json(body) or _leads_anywhere(payload, reading):
        return reading
    return replace(reading, records_path=None)


def call_pieces(file: BinaryIO, call: CallReading, json_pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The records of a body. `json_pieces`: of the file, were it one of JSON."""
    if call.kind == "json":
        pieces = json_pieces
    else:
        body = file.read()
        pieces = iter((Piece(0, len(body), 1, _inside(body, call)),))
    before, after, members = call.before.encode(), call.after.encode(), call.members.encode()
    if not (before or members):
        yield from pieces
        return
    for piece in pieces:
        if piece.data is None:
            yield piece
            continue
        data = b"".join((before, piece.data, after))
        yield piece._replace(data=_with_members(data, members) if members else data, value=None)


def _inside(body: bytes, call: CallReading) -> bytes:
    match call.kind:
        case "form":
            return orjson.dumps(_fields(body, call.encoding))
        case "text":
            return orjson.dumps(_text_or_base64(body, call.encoding))
        case "string":
            return orjson.dumps(body.decode(call.encoding))
        case "base64":
            return orjson.dumps(base64.b64encode(body).decode())
        case _:
            return body.strip(_BLANK)


def _with_members(data: bytes, members: bytes) -> bytes:
    """Members at the end of an object; what is none stays as it is, and is found to be none."""
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return data
    inside = data[1:-1].rstrip(_BLANK)
    return b"".join((b"{", inside, b"," if inside else b"", members, b"}"))


def _members(source: WebhookSource, headers: Headers) -> str:
    if not source.headers:
        return ""
    found = {}
    for name in source.headers:
        values = headers.all(name)
        found[name] = ", ".join(values) if values else None
    return f'"{HEADERS_MEMBER}":{orjson.dumps(found).decode()}'


def _fields(body: bytes, encoding: str) -> dict[str, str | list[str]]:
    """A field that stands there several times is an array."""
    fields: dict[str, str | list[str]] = {}
    pairs = parse_qsl(
        _clean(body.decode(encoding, errors="replace")),
        keep_blank_values=True,
        encoding=encoding,
        errors="replace",
    )
    for name, value in (map(_clean, pair) for pair in pairs):
        before = fields.get(name)
        if before is None:
            fields[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            fields[name] = [before, value]
    return fields


def _clean(text: str) -> str:
    """Without lone surrogates, which some encodings have and JSON has not."""
    return text.encode(errors="replace").decode()


def _text_or_base64(body: bytes, encoding: str) -> dict[str, str]:
    if _is_text(body, encoding):
        return {"body": body.decode(encoding)}
    return {"body_base64": base64.b64encode(body).decode()}


def _is_text(body: bytes, encoding: str) -> bool:
    try:
        body.decode(encoding).encode()  # some encodings have lone surrogates, JSON has not
    except UnicodeError:
        return False
    return True


def _kind_of_data(content_type: str, body: bytes, encoding: str) -> Kind:
    if not body:
        return "nothing"
    # Section 3.1.1: without a content type the data is JSON.
    if not content_type or _says_json(content_type):
        return "value"
    return "string" if _is_text(body, encoding) else "base64"


def _encoding(headers: Headers) -> str:
    """What the content type names, where Python has it and it is one of text."""
    try:
        name = codecs.lookup(headers.charset or "utf-8").name
        b"".decode(name)
    except (LookupError, ValueError):
        return "utf-8"
    return name


def _says_json(content_type: str) -> bool:
    return content_type in ("application/json", "text/json") or content_type.endswith("+json")


def _leads_anywhere(payload: Path, reading: Reading) -> bool:
    """Whether a body that is broken has records at the path ahead of that."""
    with open_as_utf8(payload, reading.encoding, None) as file:
        try:
            for _ in json_pieces(file, reading, ""):
                pass
        except DeliveryRejectedError:
            return False
    return True


def _is_json(body: bytes) -> bool:
    """Whether it is an object or an array of JSON, whatever it is called."""
    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True
