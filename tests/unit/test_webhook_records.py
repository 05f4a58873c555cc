"""What a call's body becomes: the records as a user finds them in bronze."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config_webhook import WebhookSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.delivery import Exchange
from headrace.producers.files.reading import Reading
from headrace.producers.files.records import read_records
from headrace.producers.webhook.body_records import decide_call_reading
from headrace.producers.webhook.cloud_events import (
    Mode,
    NoCloudEventError,
    UnknownFormatError,
    mode_of,
    name_of,
)
from headrace.producers.webhook.headers import Headers
from headrace.stream import Stream

CALLED_AT = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
ADOPTED_AT = datetime(2024, 5, 3, 12, 0, tzinfo=UTC)
JSON = "application/json"


def read(
    folder: Path,
    body: bytes,
    content_type: str | None = JSON,
    sent: dict[str, str] | None = None,
    stream: Stream | None = None,
    **source: Any,
) -> tuple[list[bytes], list[datetime | None], list[str]]:
    """The records, their event times, and what was wrong with those that could not be read."""
    pairs = [] if content_type is None else [("content-type", content_type)]
    pairs += (sent or {}).items()
    path = folder / "payload"
    path.write_bytes(body)
    table = {"kind": "webhook", "stream": "s", "signature": "none", **source}
    reading = decide_call_reading(
        path,
        Exchange("POST", "/hooks/s", None, tuple(pairs), CALLED_AT),
        WebhookSource.model_validate(table),
        stream or Stream(),
    )
    reading = Reading.from_json(reading.to_json())  # as it lies in the spool
    values: list[bytes] = []
    times: list[datetime | None] = []
    errors: list[str] = []
    for batch in read_records(
        path, reading, name="call", received_at=ADOPTED_AT, scratch=folder / "scratch"
    ):
        values += batch.values
        times += batch.event_times
        errors += batch.errors or []
    return values, times, errors


def records(folder: Path, body: bytes, *more: Any, **source: Any) -> list[Any]:
    values, _, errors = read(folder, body, *more, **source)
    assert errors == []
    return [json.loads(value) for value in values]


def test_an_object_is_one_record_byte_for_byte(tmp_path: Path) -> None:
    body = b'{ "price" :1.10, "n":12345678901234567890,\r\n "price":2}'
    values, times, errors = read(tmp_path, body)
    assert (values, times, errors) == ([body], [CALLED_AT], [])


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'[{"a":1},{"a":2.50}]', None, [b'{"a":1}', b'{"a":2.50}']),
        (b'[{"a":1},{"a":2.50}]', "@", [b'{"a":1}', b'{"a":2.50}']),
        (b'{"items":[{"a":1},{"a":2.50}]}', "items", [b'{"a":1}', b'{"a":2.50}']),
        (b'{"items":[{"a":{"b":1}}]}', "items[*].a", [b'{"b":1}']),
        (b"[]", None, []),
    ],
)
def test_the_elements_of_an_array_are_a_record_each(
    tmp_path: Path, body: bytes, path: str | None, expected: list[bytes]
) -> None:
    assert read(tmp_path, body, records=path)[0] == expected


def test_headers_that_were_asked_for_are_in_each_record(tmp_path: Path) -> None:
    body = b'[{"a":1}, {}]'
    found, times, errors = read(
        tmp_path,
        body,
        sent={"x-github-event": "push", "X-Sent": "2024-04-30T00:00:00Z"},
        stream=Stream.model_validate({"event_time": "$._headers.X-Sent"}),
        headers=["X-GitHub-Event", "X-Sent", "X-None"],
    )
    added = b'"_headers":{"X-GitHub-Event":"push","X-Sent":"2024-04-30T00:00:00Z","X-None":null}}'
    assert found == [b'{"a":1,' + added, b"{" + added]
    assert times == [datetime(2024, 4, 30, tzinfo=UTC)] * 2
    assert errors == []


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (
            b"a=1&b=x+y&a=2&c=",
            "application/x-www-form-urlencoded",
            {"a": ["1", "2"], "b": "x y", "c": ""},
        ),
        (b"a=%e4", "application/x-www-form-urlencoded; charset=latin-1", {"a": "ä"}),
        (b"it is done", "text/plain", {"body": "it is done"}),
        ("schön".encode("latin-1"), "text/plain; charset=ISO-8859-1", {"body": "schön"}),
        (b"\xff\x00", "application/octet-stream", {"body_base64": "/wA="}),
        (b"\xff\x00", "text/plain; charset=nonsense", {"body_base64": "/wA="}),
        (b"<a/>", "application/xml", {"body": "<a/>"}),
        (b"{not json", "text/plain", {"body": "{not json"}),
        (b'{"a": 1}', "text/plain", {"a": 1}),  # so some senders say
        (b'{"a": 1}', None, {"a": 1}),
        (b'{"a": 1}', "application/vnd.github+json", {"a": 1}),
    ],
)
def test_a_body_of_another_kind_is_one_record(
    tmp_path: Path, body: bytes, content_type: str | None, expected: dict[str, Any]
) -> None:
    assert records(tmp_path, body, content_type) == [expected]
    with_header = records(tmp_path, body, content_type, {"X-A": "b"}, headers=["X-A"])
    assert with_header == [{**expected, "_headers": {"X-A": "b"}}]


def test_lines_of_json_are_a_record_each(tmp_path: Path) -> None:
    assert records(tmp_path, b'{"a":1}\n{"a":2}\n', "application/x-ndjson") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("body", [b'{"a": 1', b"true", b'"text"', b"[1]", b"\xff{}"])
def test_what_says_that_it_is_json_and_is_none_keeps_its_bytes(tmp_path: Path, body: bytes) -> None:
    values, _, errors = read(tmp_path, body, sent={"X-A": "b"}, headers=["X-A"])
    assert len(errors) == 1
    assert values[0] in body


@pytest.mark.parametrize("body", [b"hello", b'{"hello": "wor', b"17"])
def test_what_is_no_json_goes_to_the_quarantine_whatever_path_there_is(
    tmp_path: Path, body: bytes
) -> None:
    values, _, errors = read(tmp_path, body, records="readings")
    assert len(errors) == 1
    assert values[0] in body


def test_a_body_that_breaks_off_keeps_the_records_ahead_of_that(tmp_path: Path) -> None:
    values, _, errors = read(tmp_path, b'{"readings": [{"a": 1}, {"a"', records="readings")
    assert (values[0], len(errors)) == (b'{"a": 1}', 1)


@pytest.mark.parametrize("path", ["readings", "readings[?n > `1`]"])
def test_json_without_records_where_they_should_be_is_rejected_by_the_keys_name(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(DeliveryRejectedError) as raised:
        read(tmp_path, b'{"hello": "world"}', records=path)
    assert raised.value.remedy == "correct `records` of the source, or what is sent"


EVENT = {
    "specversion": "1.0",
    "id": "17",
    "source": "/shop",
    "type": "order.made",
    "time": "2024-04-30T00:00:00Z",
}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()}


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b'{"n": 1.10}', JSON, {"data": {"n": 1.1}}),
        (b"[1, 2]", JSON, {"data": [1, 2]}),
        (b" null ", None, {"data": None}),
        (b"plain", "text/plain", {"data": "plain"}),
        (b"\xff\x00", "image/png", {"data_base64": "/wA="}),
        (b"", None, {}),
    ],
)
def test_an_event_is_the_same_record_in_whatever_mode_it_comes(
    tmp_path: Path, body: bytes, content_type: str | None, data: dict[str, Any]
) -> None:
    said = {} if content_type is None else {"datacontenttype": content_type}
    event = {**EVENT, **said, **data}
    whole = json.dumps(event).encode()
    rule = Stream.model_validate({"event_time": "time"})
    binary, times, errors = read(tmp_path, body, content_type, BINARY, rule)
    assert [json.loads(value) for value in binary] == [event]
    assert (times, errors) == ([datetime(2024, 4, 30, tzinfo=UTC)], [])
    assert records(tmp_path, whole, "application/cloudevents+json; charset=UTF-8") == [event]
    batch = b"[%s,%s]" % (whole, whole)
    assert records(tmp_path, batch, "application/cloudevents-batch+json") == [event, event]


def test_data_that_says_it_is_json_and_is_none_keeps_its_bytes(tmp_path: Path) -> None:
    values, _, errors = read(tmp_path, b'{"a"', JSON, BINARY)
    assert values == [b'{"a"']
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("headers", "body", "message"),
    [
        ({"ce-id": "1"}, b"", None),
        ({**BINARY, "ce-id": ""}, b"", "without id"),
        ({**BINARY, "ce-specversion": "0.3"}, b"", "specversion 1.0"),
        ({**BINARY, "ce-a-b": "x"}, b"", "letters and digits"),
        ({**BINARY, "ce-data": "x"}, b"", "no attribute"),
        ({**BINARY, "ce-subject": "%ff"}, b"", "UTF-8"),
        ({**BINARY, "ce-id": "x" * 1_001}, b"", "too long"),
        ({"content-type": "application/cloudevents+json"}, b"[]", "expected an event"),
        ({"content-type": "application/cloudevents+json"}, b"{", "not JSON"),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}", "an array"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[{}]", "without specversion"),
    ],
)
def test_what_says_that_it_is_an_event_and_is_none_is_refused(
    headers: dict[str, str], body: bytes, message: str | None
) -> None:
    call = Headers(headers.items())
    mode = mode_of(call)
    if message is None:
        assert mode is None
        return
    assert mode is not None
    with pytest.raises(NoCloudEventError, match=message):
        name_of(mode, call, body)


def test_an_attribute_is_percent_encoded_text(tmp_path: Path) -> None:
    said = {**BINARY, "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80", "ce-extra": '"a \\"b\\""'}
    (event,) = records(tmp_path, b"{}", JSON, said)
    assert event["subject"] == "Euro € 😀"
    assert event["extra"] == 'a "b"'


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=8), st.binary(max_size=60)
)
def test_whatever_headers_there_are_an_event_is_one_or_refused(
    given_headers: dict[str, str], body: bytes
) -> None:
    call = Headers([*given_headers.items(), ("ce-specversion", "1.0")])
    try:
        assert mode_of(call) in (Mode.BINARY, Mode.STRUCTURED, Mode.BATCH)
        name_of(Mode.BINARY, call, body)
        name_of(Mode.STRUCTURED, call, body)
    except (NoCloudEventError, UnknownFormatError):
        pass
