"""Under which name a call is known, and whether that or its content tells it from others."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Final

import orjson

from headrace.config_webhook import WebhookSource
from headrace.producers.delivery import IdentityBy
from headrace.producers.webhook.cloud_events import EventName
from headrace.producers.webhook.headers import Headers

_MAX_NAME_CHARACTERS: Final = 200
_SHOWN_DIGITS: Final = 16
_ID_HEADERS: Final = {"github": ("X-GitHub-Delivery",), "standard": ("webhook-id", "svix-id")}


def name_call(
    source: WebhookSource,
    headers: Headers,
    body: bytes,
    event: EventName | None,
    received_at: datetime,
) -> tuple[str, IdentityBy]:
    """A call's name within its source. `event`: of the one CloudEvent that it is."""
    if source.identity == "arrival":
        return f"{received_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ} {secrets.token_hex(6)}", (
            IdentityBy.NAME
        )
    sender_id = _sender_id(source, headers, body, event) if source.identity == "sender" else None
    if sender_id is not None:
        return _presentable(sender_id), IdentityBy.NAME
    return f"sha256:{hashlib.sha256(body).hexdigest()[:_SHOWN_DIGITS]}", IdentityBy.CONTENT


def _sender_id(
    source: WebhookSource, headers: Headers, body: bytes, event: EventName | None
) -> str | None:
    if source.delivery_id_header is not None:
        return headers.only(source.delivery_id_header)
    if event is not None:
        return str(event)
    if source.signature.kind == "stripe":
        return _id_in(body)
    found = (headers.only(name) for name in _ID_HEADERS.get(source.signature.kind, ()))
    return next((value for value in found if value is not None), None)


def _id_in(body: bytes) -> str | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def _presentable(name: str) -> str:
    """The name itself, where it can stand in a line of output; else what stands for it."""
    if len(name) <= _MAX_NAME_CHARACTERS and name.isprintable():
        return name
    return f"sha256:{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()}"
