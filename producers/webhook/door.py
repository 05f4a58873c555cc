"""`POST /hooks/<source>`: who may come in, and the answer once his call is on disk.

It needs nothing but the spool: calls are answered while the broker is away and while the producer
is still starting. It lives in the event loop of the role's HTTP port.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from headrace.config_webhook import WebhookSource
from headrace.metrics import CALL_SECONDS, CALLS
from headrace.producers.delivery import Exchange
from headrace.producers.webhook.call import Call
from headrace.producers.webhook.call_body import Room, read_body, too_large
from headrace.producers.webhook.cloud_events import (
    NoCloudEventError,
    UnknownFormatError,
    mode_of,
    name_of,
)
from headrace.producers.webhook.headers import Headers
from headrace.producers.webhook.journal import Journal, JournalClosedError
from headrace.producers.webhook.naming import name_call
from headrace.producers.webhook.refusal import CallRefusedError
from headrace.producers.webhook.signature import flaw_in

log = structlog.get_logger("produce")

_ROOM_BYTES: Final = 64_000_000
# A body over this is checked in a thread: others must not wait for its hash.
_LONG_BODY_BYTES: Final = 1_000_000
_LENGTH_DIGITS: Final = 18
_TELL_SECONDS: Final = 1.0
_SHOWN_CHARACTERS: Final = 100
_FULL_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Door:
    """Lets calls in, while it is open."""

    def __init__(
        self, sources: Mapping[str, WebhookSource], now: Callable[[], float] = time.time
    ) -> None:
        self._sources = sources
        self._now = now
        self._journals: Mapping[str, Journal] = {}
        # By source, status and reason, of which there are a few: no caller's text is in one.
        self._told: dict[tuple[str | None, int, str], tuple[float, int]] = {}
        longest = max((source.max_body for source in sources.values()), default=0)
        self._room = Room(max(_ROOM_BYTES, 2 * longest))

    def routes(self) -> list[BaseRoute]:
        """What the HTTP port serves for it."""
        # Some write the address with a slash behind it, and few senders follow a redirect.
        paths = ("/hooks/{source}", "/hooks/{source}/")
        return [Route(path, self._called, methods=["POST"]) for path in paths]

    @contextmanager
    def opened(self, journals: Mapping[str, Journal]) -> Iterator[None]:
        """Let calls in meanwhile, into these journals; each source has one."""
        self._journals = journals
        try:
            yield
        finally:
            self._journals = {}

    # --- in the event loop of the HTTP port

    async def _called(self, request: Request) -> Response:
        name = request.path_params["source"]
        source = self._sources.get(name)
        if source is None:
            self._tell_refused(None, 404, "there is no such webhook", path=name[:_SHOWN_CHARACTERS])
            return JSONResponse({"error": "there is no such webhook"}, status_code=404)
        began = time.perf_counter()
        try:
            delivery = await self._take(name, source, request)
        except CallRefusedError as refusal:
            CALLS.labels(name, refusal.outcome).inc()
            self._tell_refused(name, refusal.status, refusal.why)
            return refusal.response()
        CALLS.labels(name, "accepted").inc()
        CALL_SECONDS.labels(name).observe(time.perf_counter() - began)
        return JSONResponse({"delivery": delivery}, status_code=202)

    def _tell_refused(self, name: str | None, status: int, why: str, **about: str) -> None:
        """Log it, but not each where somebody makes thousands."""
        now = time.monotonic()
        key = (name, status, why)
        told_at, untold = self._told.get(key, (-_TELL_SECONDS, 0))
        if now < told_at + _TELL_SECONDS:
            self._told[key] = (told_at, untold + 1)
            return
        self._told[key] = (now, 0)
        more = {"others_since_the_last_told": untold} if untold else {}
        log.warning("call_refused", source=name, status=status, reason=why, **about, **more)

    async def _take(self, name: str, source: WebhookSource, request: Request) -> str:
        headers = Headers(
            (key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers.raw
        )
        journal = self._journals.get(name)
        if journal is None:
            raise CallRefusedError(503, "closed", "starting or stopping", retry_after_seconds=1)
        _refuse_by_headers(source, headers)
        if journal.waiting_bytes > source.max_waiting:
            raise CallRefusedError(429, "too_many", "too many calls wait", retry_after_seconds=10)
        with self._room.held() as held:
            body = await read_body(request.stream(), held, source.max_body)
            if len(body) > _LONG_BODY_BYTES:
                call = await asyncio.to_thread(self._let_in, source, request, headers, body)
            else:
                call = self._let_in(source, request, headers, body)
            await _keep(journal, call)
        return call.name

    def _let_in(
        self, source: WebhookSource, request: Request, headers: Headers, body: bytes
    ) -> Call:
        """The call, if who makes it may and it is what it says. Raises `CallRefusedError`."""
        now = self._now()
        flaw = flaw_in(source.signature, headers, body, now)
        if flaw is not None:
            raise CallRefusedError(
                401, "unsigned", "the signature is not right", why=flaw.value, whole=True
            )
        try:
            mode = mode_of(headers)
            event = None if mode is None else name_of(mode, headers, body)
        except UnknownFormatError as error:
            raise CallRefusedError(415, "wrong_type", str(error), whole=True) from error
        except NoCloudEventError as error:
            raise CallRefusedError(400, "malformed", str(error), whole=True) from error
        if mode is None and not body:
            raise CallRefusedError(400, "malformed", "an empty body", whole=True)
        received_at = datetime.fromtimestamp(now, UTC)
        call_name, identity_by = name_call(source, headers, body, event, received_at)
        token_header = source.signature.header_name if source.signature.kind == "token" else None
        exchange = Exchange(
            request.method,
            request.scope["path"],  # what stands behind it may be a secret
            None,
            headers.without_secrets(token_header),
            received_at,
        )
        return Call(call_name, identity_by, exchange, body)


def _refuse_by_headers(source: WebhookSource, headers: Headers) -> None:
    if headers.content_encoding is not None:
        raise CallRefusedError(415, "wrong_type", "a body may not be compressed")
    content_type = headers.content_type or "application/octet-stream"
    if not any(fnmatchcase(content_type, pattern) for pattern in source.content_types):
        raise CallRefusedError(415, "wrong_type", f"expected {' or '.join(source.content_types)}")
    length = headers.only("content-length") or ""
    if length.isdecimal() and (len(length) > _LENGTH_DIGITS or int(length) > source.max_body):
        raise too_large(source.max_body)


async def _keep(journal: Journal, call: Call) -> None:
    try:
        await journal.append(call.to_bytes())
    except JournalClosedError as error:
        raise CallRefusedError(
            503, "closed", "starting or stopping", retry_after_seconds=1, whole=True
        ) from error
    except OSError as error:
        full = error.errno in _FULL_ERRORS
        raise CallRefusedError(
            503,
            "unwritable",
            "no space to keep it" if full else "it could not be kept",
            why=error.strerror or str(error),
            retry_after_seconds=30 if full else 5,
            whole=True,
        ) from error
