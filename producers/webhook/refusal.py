"""Why a call is not let in: what its caller is told, and what it is counted as."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

Outcome = Literal[
    "accepted",
    "unsigned",
    "too_large",
    "wrong_type",
    "malformed",
    "too_slow",
    "too_many",
    "unwritable",
    "closed",
    "gone",
]
"""What became of a call, as the metric has it."""

_LINGER_SECONDS: Final = 2.0
_LINGER_BYTES: Final = 8_000_000


class CallRefusedError(Exception):
    """A call is answered so, and nothing of it is kept.

    `text` is short and says nothing that a stranger should not know; `why` is for our own log.
    """

    def __init__(
        self,
        status: int,
        outcome: Outcome,
        text: str,
        *,
        why: str | None = None,
        retry_after_seconds: int | None = None,
        whole: bool = False,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.outcome = outcome
        self.text = text
        self.why = why or text
        self._retry_after_seconds = retry_after_seconds
        self._whole = whole

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {}
        if self._retry_after_seconds is not None:
            headers["retry-after"] = str(self._retry_after_seconds)
        if self.status == 401:
            headers["www-authenticate"] = "Signature"
        kind = JSONResponse if self._whole else _EarlyResponse
        return kind({"error": self.text}, status_code=self.status, headers=headers)


class _EarlyResponse(JSONResponse):
    """An answer before the body has ended: the connection is closed behind it.

    Closed at once, a caller who is still sending would see a broken connection and no answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        self.headers["connection"] = "close"
        start: Message = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(_LINGER_SECONDS):
                await _pass_over(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pass_over(receive: Receive) -> None:
    size = 0
    while size < _LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
