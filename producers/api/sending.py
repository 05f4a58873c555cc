"""One HTTP request and its answer: bounded in time and size, no redirect, no retry, no cookie."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from headrace.config_api_manners import TimeoutOptions
from headrace.errors import ApiContentError, ApiError, ApiRefusedError, ApiTooLargeError
from headrace.producers.api.page import Pairs
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.redirects import REDIRECTS
from headrace.producers.api.response import (
    BodyDamagedError,
    BodyEncodingError,
    BodyTooLargeError,
    kept_headers,
    read_body,
)
from headrace.producers.api.retry import PassingError

# Of an error's body only what it says is of use.
_ERROR_BODY_BYTES: Final = 64 * 2**10


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to believe; reading them takes longer than a request."""
    return httpx.create_ssl_context()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is unpacked, and of an error no more than its beginning."""

    status: int
    headers: Pairs
    body: bytes


class Sender:
    """One connection pool. `transport` takes the network's place where one is given.

    Proxies and certificates are those of the environment, as every program has them.
    """

    def __init__(
        self,
        timeouts: TimeoutOptions,
        redaction: Redaction,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeouts = timeouts
        self._redaction = redaction
        # Nothing that a server asks to be told again is told again, to it or to another.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.AsyncClient(
            transport=transport,
            cookies=no_cookies,
            follow_redirects=False,
            headers={},
            verify=_certificates(),
            timeout=httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        most: int,
    ) -> Answer:
        """Send a request; its body's `most` bytes. Raises `ApiError`, or `PassingError`."""
        try:
            request = httpx.Request(
                method, url, headers=[(k.encode(), v.encode()) for k, v in headers], content=body
            )
        except (httpx.InvalidURL, ValueError):
            raise self._unsendable() from None
        try:
            async with asyncio.timeout(self._timeouts.total):
                return await self._exchange(request, most)
        except TimeoutError:
            raise PassingError(
                f"no whole answer within {self._timeouts.total:g} s (timeouts.total)"
            ) from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            # Their texts quote what they were given, with any secret in it.
            raise self._unsendable() from None
        except httpx.TransportError as error:
            raise self._passing(error) from error

    async def _exchange(self, request: httpx.Request, most: int) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in response.headers.raw
            )
            body = b""
            if response.status_code not in REDIRECTS:
                body = await self._body(response, most)
        finally:
            await response.aclose()
        return Answer(response.status_code, kept_headers(headers), body)

    async def _body(self, response: httpx.Response, most: int) -> bytes:
        encoding = response.headers.get("content-encoding")
        is_error = response.status_code >= 400
        limit = min(most, _ERROR_BODY_BYTES) if is_error else most
        try:
            return await read_body(response.aiter_raw(), encoding, limit)
        except (
            BodyTooLargeError,
            BodyDamagedError,
            BodyEncodingError,
            httpx.TransportError,
        ) as error:
            if is_error:
                return b""
            raise self._of_body(error, limit) from error

    def _of_body(self, error: Exception, limit: int) -> ApiError | PassingError | Exception:
        match error:
            case BodyTooLargeError():
                return ApiTooLargeError(
                    f"the answer is larger than {limit:,} bytes",
                    remedy="ask for smaller pages, or raise max_response",
                )
            case BodyDamagedError():
                return PassingError(f"the answer is damaged: {error}")
            case BodyEncodingError():
                return ApiContentError(
                    f"the answer is packed as {self._redaction.text(str(error))!r}, expected gzip,"
                    " deflate or nothing",
                    remedy="that is the server's mistake: tell its owner",
                )
            case _:
                return error

    def _passing(self, error: httpx.TransportError) -> PassingError:
        told = self._redaction.text(str(error)) or type(error).__name__
        match error:
            case httpx.ConnectTimeout():
                text = f"no connection within {self._timeouts.connect:g} s (timeouts.connect)"
            case httpx.ConnectError() | httpx.ProxyError():
                text = f"no connection: {told}"
            case httpx.ReadTimeout():
                text = f"nothing came for {self._timeouts.read:g} s (timeouts.read)"
            case _:
                text = f"the answer was cut or is no HTTP: {told}"
        was_sent = not isinstance(
            error, httpx.ConnectTimeout | httpx.ConnectError | httpx.ProxyError
        )
        return PassingError(text, was_done=was_sent)

    def _unsendable(self) -> ApiRefusedError:
        return ApiRefusedError(
            "the request cannot be sent: its address, a header or a credential has characters that"
            " HTTP does not take",
            remedy="check url, headers and auth for line breaks and the like",
        )
