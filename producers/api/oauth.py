"""OAuth 2 access tokens (RFC 6749): got when first needed, renewed before they expire.

Own code, as the protocol's part here is one POST: Authlib took half a second to import, asks for
a successor of httpx, leaves the client's secret unquoted in the basic scheme (section 2.3.1), and
reads a token's answer without limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote_plus, urlencode

import orjson
from filelock import AsyncFileLock, Timeout

from headrace.config_api_auth import OAuth2Auth
from headrace.errors import ApiRefusedError
from headrace.producers.api.clock import Clock
from headrace.producers.api.failures import told
from headrace.producers.api.page import Pairs
from headrace.producers.api.proof import basic
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.retry import PassingError
from headrace.producers.api.sending import Answer
from headrace.producers.api.token_store import TokenStore

# Renewed so long before it expires, or in the last tenth of a short life.
_AHEAD_SECONDS: Final = 60.0
_LOCK_SECONDS: Final = 60.0
_LOCK_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """`renew_at`: of the monotonic clock; None where the server does not say when it expires."""

    text: str
    renew_at: float | None
    refresh_token: str | None = None


class TokenEndpoint(Protocol):
    """Sends a form to where tokens are given."""

    async def __call__(self, url: str, headers: Pairs, form: bytes) -> Answer:
        """The answer, whatever it says. Raises `ApiError`, `PassingError`."""


class AccessTokens:
    """The access token of one source: in memory, one for all requests, renewed once for all.

    `redaction` learns each secret, so that none is shown. Several processes of a project may renew
    at the same time: with a refresh token they take turns, as using one twice can lose both.
    """

    def __init__(
        self,
        auth: OAuth2Auth,
        endpoint: TokenEndpoint,
        store: TokenStore,
        clock: Clock,
        redaction: Redaction,
    ) -> None:
        self._auth = auth
        self._endpoint = endpoint
        self._store = store
        self._clock = clock
        self._redaction = redaction
        self._token: AccessToken | None = None
        self._renewing = asyncio.Lock()

    async def current(self) -> str:
        """A token that has not expired. Raises `ApiRefusedError`, `PassingError`."""
        token = self._token
        if token is None or self._is_due(token):
            async with self._renewing:
                if self._token is token:
                    await self._renew()
                token = self._token
        assert token is not None
        return token.text

    async def renew(self, stale: str) -> bool:
        """Get another token than `stale`, unless somebody has by now. Raises as `current`."""
        async with self._renewing:
            if self._token is None or self._token.text == stale:
                await self._renew()
        return self._token is not None and self._token.text != stale

    def _is_due(self, token: AccessToken) -> bool:
        return token.renew_at is not None and self._clock.monotonic() >= token.renew_at

    async def _renew(self) -> None:
        if self._auth.grant == "client_credentials":
            self._token = await self._ask({"grant_type": "client_credentials"})
            return
        async with _turn(self._store.path):
            await self._refresh()

    async def _refresh(self) -> None:
        first = self._auth.refresh_token
        assert first is not None
        kept = await asyncio.to_thread(self._store.load)
        refresh_token = kept or first.get_secret_value()
        self._redaction.add(refresh_token)
        token = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})
        if token.refresh_token is not None and token.refresh_token != refresh_token:
            # Before the access token is used: what is lost here is lost for good.
            await asyncio.to_thread(self._store.save, token.refresh_token)
        self._token = token

    async def _ask(self, grant: dict[str, str]) -> AccessToken:
        auth = self._auth
        form = {**grant, **auth.parameters}
        if auth.scope:
            form["scope"] = auth.scope
        headers: Pairs = (
            ("Accept", "application/json"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        )
        secret = auth.client_secret.get_secret_value() if auth.client_secret else None
        if secret is not None and auth.client_auth == "basic":
            proof = basic(quote_plus(auth.client_id), quote_plus(secret))
            self._redaction.add(proof.removeprefix("Basic "))
            headers += (("Authorization", proof),)
        else:
            form["client_id"] = auth.client_id
            if secret is not None:
                form["client_secret"] = secret
        began = self._clock.monotonic()
        answer = await self._endpoint(auth.token_url, headers, urlencode(form).encode())
        if answer.status >= 500 or answer.status in (408, 429):
            raise PassingError(
                f"the server of tokens answered {told(answer, self._redaction)}", was_done=False
            )
        token = _granted(answer, began)
        if token is None:
            raise ApiRefusedError(
                f"{auth.token_url} gave no access token: {told(answer, self._redaction)}",
                remedy=_REMEDIES[auth.grant],
                status=answer.status,
            )
        for text in (token.text, token.refresh_token):
            if text is not None:
                self._redaction.add(text)
        return token


_REMEDIES: Final = {
    "client_credentials": "check auth.client_id, client_secret, client_auth and scope",
    "refresh_token": "check auth.client_id and client_secret; a refresh token that has expired or"
    " was revoked: get a new one and set it as auth.refresh_token",
}


@asynccontextmanager
async def _turn(path: Path) -> AsyncIterator[None]:
    """Only one process at a time has the refresh token of `path`. Raises `PassingError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = AsyncFileLock(
        f"{path}.lock",
        timeout=_LOCK_SECONDS,
        poll_interval=_LOCK_LOOK_SECONDS,
        thread_local=False,
        run_in_executor=False,  # a thread would have it after we are gone
    )
    try:
        await lock.acquire()
    except Timeout:
        raise PassingError(
            f"another process of the project has renewed the token for {_LOCK_SECONDS:g} s",
            was_done=False,
        ) from None
    try:
        yield
    finally:
        await lock.release()


def _granted(answer: Answer, now: float) -> AccessToken | None:
    """The token of an answer; None where it has none."""
    try:
        granted = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    text = _token(granted.get("access_token")) if isinstance(granted, dict) else None
    if not 200 <= answer.status < 300 or text is None:
        return None
    lasts = granted.get("expires_in")
    renew_at = None
    if isinstance(lasts, str) and lasts.isdecimal():  # against the standard, and not rare
        lasts = int(lasts[:12])
    if isinstance(lasts, int | float) and not isinstance(lasts, bool) and lasts >= 0:
        renew_at = now + lasts - min(_AHEAD_SECONDS, lasts / 10)
    return AccessToken(text, renew_at, _token(granted.get("refresh_token")))


def _token(text: object) -> str | None:
    is_one = isinstance(text, str) and text and text.isascii() and text.isprintable()
    return str(text) if is_one else None
