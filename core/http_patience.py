"""How long an HTTP port waits for a request's headers, and how many of them it takes.

uvicorn itself waits for ever for headers that come a byte at a time, and httptools takes any number
of them: each such connection is a descriptor, and some memory, that nobody gives back.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS: Final = 10.0
HEADER_BYTES: Final = 64 * 1024
CONNECTIONS: Final = 500
"""At once; above it a request is answered 503. A process may often have 1,024 descriptors."""


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's, which hangs up on who does not come to the end of his headers."""

    cycle: Any
    _waiting: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody connected: he has to say what he wants."""
        super().connection_made(transport)
        self._connection: Any = transport
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Bytes of headers or of a body."""
        in_headers = not self._has_request()
        super().data_received(data)
        if self._has_request():
            self._header_bytes = 0
            self._wait_no_more()
        elif in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES:
                self._connection.abort()
            elif self._waiting is None:
                self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _has_request(self) -> bool:
        """Whether headers have ended and their answer has not."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(
            HEADER_SECONDS, self._connection.abort
        )

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
