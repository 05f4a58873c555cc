"""Calls as strangers make them: signatures, CloudEvents, bodies; and journals cut and flipped.

Nobody without the secret comes in, whatever he writes; what comes in is read or kept as it is; and
of a damaged journal nothing comes out that was not put in.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from headrace.config_webhook import Signature, WebhookSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.delivery import Exchange, IdentityBy
from headrace.producers.files.records import read_records
from headrace.producers.webhook.body_records import decide_call_reading
from headrace.producers.webhook.call import Call
from headrace.producers.webhook.cloud_events import NoCloudEventError, mode_of, name_of
from headrace.producers.webhook.headers import Headers
from headrace.producers.webhook.journal_segment import (
    HEADER_BYTES,
    Damage,
    Frame,
    frame_head,
    marker_of,
    new_header,
    read_frames,
)
from headrace.producers.webhook.naming import name_call
from headrace.producers.webhook.signature import flaw_in, sign
from headrace.stream import Stream

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_KINDS: Final = ("github", "standard", "stripe", "token")
_TYPES: Final = (
    *("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"),
    *("application/x-ndjson", "application/x-www-form-urlencoded", "text/plain; charset=utf-16"),
    *("text/plain; charset=idna", "application/xml", "image/png", ""),
    *("application/x-www-form-urlencoded; charset=utf-7", "text/plain; charset=utf-7"),
)
_EVENT: Final = {
    "specversion": "1.0",
    "id": "17",
    "source": "/shop",
    "type": "made",
    "data": {"n": [1, 2.50, "x", None]},
}
_BODIES: Final = (
    json.dumps(_EVENT).encode(),
    json.dumps([_EVENT, _EVENT]).encode(),
    b'{"items": [{"a": 1}, {"a": {"b": []}}], "n": 12345678901234567890}',
    b'{"a": 1}\n{"a": 2}\n',
    b"a=1&b=x+y&a=2&c=%e4%00&%=",
    b"\xff\xfeh\x00i\x00",
    b"a=+2AA-&b=%2B2AA-",  # half a surrogate, in UTF-7
    b"",
)


@cache
def _signature(kind: str) -> Signature:
    return Signature.model_validate({"kind": kind, "secret": _SECRET})


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-webhooks-"))


def _damaged(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(0, 4)):
        at = chance.randint(0, len(changed))
        match chance.randrange(5):
            case 0:
                del changed[at:]
            case 1:
                changed[at:at] = chance.randbytes(chance.randint(1, 9))
            case 2:
                del changed[at : at + chance.randint(1, 9)]
            case 3 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case _:
                start = chance.randint(0, len(changed))
                changed[at:at] = changed[start : start + chance.randint(1, 60)]
    return bytes(changed)


def _damaged_text(chance: random.Random, text: str) -> str:
    return _damaged(chance, text.encode()).decode("latin-1").replace("\r", "").replace("\n", "")


def _signatures(chance: random.Random) -> None:
    signature = _signature(chance.choice(_KINDS))
    body = chance.choice(_BODIES)
    given = Headers([("webhook-id", "msg_1")])
    signed = sign(signature, given, body, NOW.timestamp())
    right = {**dict(given.pairs), **signed}
    assert flaw_in(signature, Headers(right.items()), body, NOW.timestamp()) is None
    name = chance.choice(sorted(right))
    sent = {**right, name: _damaged_text(chance, right[name])}
    sent_body = _damaged(chance, body) if chance.random() < 0.3 else body
    pairs = list(sent.items()) * chance.choice((1, 1, 1, 2))
    flaw = flaw_in(signature, Headers(pairs), sent_body, NOW.timestamp())
    if flaw is None and signature.kind != "token":
        assert sent_body == body, (sent, sent_body)
        assert len(pairs) == len(sent)
    if flaw is None and signature.kind == "token":
        assert _SECRET in "".join(sent.values())
    unsigned = {key: value for key, value in sent.items() if key not in signed}
    assert flaw_in(signature, Headers(unsigned.items()), sent_body, NOW.timestamp()) is not None


def _calls(chance: random.Random) -> None:
    """From headers and body to records, as the door and the deliverer do it."""
    table = {
        "kind": "webhook",
        "stream": "s",
        "signature": "none",
        "headers": ["X-Kind", "content-type"] if chance.random() < 0.5 else [],
        "records": chance.choice((None, None, "@", "items", "items[*].a")),
        "identity": chance.choice(("sender", "content", "arrival")),
        "delivery_id_header": None,
    }
    source = WebhookSource.model_validate(table)
    pairs = [("Content-Type", chance.choice(_TYPES)), ("X-Kind", "a")]
    if chance.random() < 0.5:
        pairs += [(f"ce-{key}", str(value)) for key, value in _EVENT.items() if key != "data"]
    pairs = [
        (name, _damaged_text(chance, value) if chance.random() < 0.3 else value)
        for name, value in pairs
    ]
    headers = Headers(pairs)
    body = _damaged(chance, chance.choice(_BODIES))
    try:
        mode = mode_of(headers)
        event = None if mode is None else name_of(mode, headers, body)
    except NoCloudEventError:
        return
    name, identity_by = name_call(source, headers, body, event, NOW)
    assert name.isprintable()
    assert 0 < len(name) <= 200
    exchange = Exchange("POST", "/hooks/s", None, headers.without_secrets(None), NOW)
    call = Call(name, identity_by, exchange, body)
    assert Call.from_bytes(call.to_bytes()) == call
    payload = _folder() / "payload"
    payload.write_bytes(body)
    reading = decide_call_reading(payload, exchange, source, Stream())
    with suppress(DeliveryRejectedError):
        for batch in read_records(
            payload, reading, name=name, received_at=NOW, scratch=_folder() / "scratch"
        ):
            if batch.errors is None:
                for value in batch.values:
                    assert isinstance(json.loads(value), dict)


def _journals(chance: random.Random) -> None:
    header = new_header()
    marker = marker_of(header)
    assert marker is not None
    bodies = [chance.choice(_BODIES) + b"%d" % number for number in range(chance.randint(0, 8))]
    whole = header + b"".join(frame_head(marker, body) + body for body in bodies)
    damaged = _damaged(chance, whole)
    path = _folder() / "segment"
    path.write_bytes(damaged)
    start = chance.choice((0, 0, 0, chance.randint(0, len(damaged) + 3)))
    named = chance.choice((marker, marker, None, header[-4:] * 2))
    with path.open("rb") as file:
        found = list(read_frames(file, start, len(damaged), named))
    covered = start
    for item in found:
        begun = item.start if isinstance(item, Damage) else item.end - len(item.payload)
        if isinstance(item, Frame):
            assert item.payload in bodies
            head = begun - covered  # it comes behind its head, or behind a damaged one
            assert head in (0, 16) or (covered < HEADER_BYTES and begun == HEADER_BYTES + 16)
        else:
            assert begun == covered or (covered < HEADER_BYTES == begun)
        covered = item.end
    assert covered == max(start, len(damaged)) or (not found and len(damaged) == HEADER_BYTES)
    payload = _damaged(chance, Call("n", IdentityBy.NAME, _exchange(), b"body").to_bytes())
    with suppress(ValueError):
        Call.from_bytes(payload)


def _exchange() -> Exchange:
    return Exchange("POST", "/hooks/s", None, (("content-type", "text/plain"),), NOW)


def targets() -> Mapping[str, Callable[[random.Random], None]]:
    """What is thrown at."""
    return {"signatures": _signatures, "calls": _calls, "journals": _journals}
