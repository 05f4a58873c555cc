"""OAuth 2 access tokens (RFC 6749): got when first needed, renewed before they expire.

Own code, as the protocol's part here is one POST: Authlib took half a second to import, asks for
a successor of httpx, leaves the client's secret unquoted in the basic scheme (section 2.3.1), and
reads a token's answer without limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote_plus, urlencode

import orjson
from filelock import FileLock

from headrace.config_api_auth import OAuth2Auth
from headrace.errors import ApiRefusedError
from headrace.producers.api.clock import Clock
from headrace.producers.api.page import Pairs
from headrace.producers.api.proof import basic
from headrace.producers.api.retry import PassingError, said
from headrace.producers.api.sending import Answer
from headrace.producers.api.token_store import TokenStore

# Renewed so long before it expires, or in the last tenth of a short life.
_AHEAD_SECONDS: Final = 60.0
_LOCK_SECONDS: Final = 60.0


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

    `learn` is told each secret, so that none is shown. Several processes of a project may renew at
    the same time: with a refresh token they take turns, as using one twice can lose both.
    """

    def __init__(
        self,
        auth: OAuth2Auth,
        endpoint: TokenEndpoint,
        store: TokenStore,
        clock: Clock,
        learn: Callable[[str], None],
    ) -> None:
        self._auth = auth
        self._endpoint = endpoint
        self._store = store
        self._clock = clock
        self._learn = learn
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
        self._store.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(f"{self._store.path}.lock", thread_local=False, timeout=_LOCK_SECONDS)
        await asyncio.to_thread(lock.acquire)
        try:
            await self._refresh()
        finally:
            lock.release()

    async def _refresh(self) -> None:
        first = self._auth.refresh_token
        assert first is not None
        kept = await asyncio.to_thread(self._store.load)
        refresh_token = kept or first.get_secret_value()
        self._learn(refresh_token)
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
            self._learn(proof.removeprefix("Basic "))
            headers += (("Authorization", proof),)
        else:
            form["client_id"] = auth.client_id
            if secret is not None:
                form["client_secret"] = secret
        began = self._clock.monotonic()
        answer = await self._endpoint(auth.token_url, headers, urlencode(form).encode())
        token = _granted(answer.status, answer.body, began)
        if token is None:
            told = f"{answer.status} {said(answer.body)}".rstrip()
            raise ApiRefusedError(
                f"{auth.token_url} gave no access token: {told}",
                remedy=_REMEDIES[auth.grant],
                status=answer.status,
            )
        for text in (token.text, token.refresh_token):
            if text is not None:
                self._learn(text)
        return token


_REMEDIES: Final = {
    "client_credentials": "check auth.client_id, client_secret, client_auth and scope",
    "refresh_token": "check auth.client_id and client_secret; a refresh token that has expired or"
    " was revoked: get a new one and set it as auth.refresh_token",
}


def _granted(status: int, body: bytes, now: float) -> AccessToken | None:
    """The token of an answer; None where it has none. Raises `PassingError`."""
    if status >= 500 or status in (408, 429):
        raise PassingError(f"the server of tokens answered {status}: {said(body)}", was_done=False)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    text = _token(answer.get("access_token")) if isinstance(answer, dict) else None
    if not 200 <= status < 300 or text is None:
        return None
    lasts = answer.get("expires_in")
    renew_at = None
    if isinstance(lasts, str) and lasts.isdecimal():  # against the standard, and not rare
        lasts = int(lasts[:12])
    if isinstance(lasts, int | float) and not isinstance(lasts, bool) and lasts >= 0:
        renew_at = now + lasts - min(_AHEAD_SECONDS, lasts / 10)
    return AccessToken(text, renew_at, _token(answer.get("refresh_token")))


def _token(text: object) -> str | None:
    is_one = isinstance(text, str) and text and text.isascii() and text.isprintable()
    return str(text) if is_one else None
