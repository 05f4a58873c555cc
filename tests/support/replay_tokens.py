"""An OAuth 2 server of tokens: issues, rotates, expires, and complains of what may not be."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import count
from urllib.parse import parse_qsl, unquote_plus

from support.replay_answer import Answer, Seen, json_answer


class TokenIssuer:
    """The handler of a token endpoint, and what says whether a request has a token that holds.

    A refresh token holds once: whoever sends it again loses all (as Auth0 has it). `expires_in`:
    as the answer says it, None to leave it out; tokens expire when `expire` is called.
    """

    def __init__(
        self,
        client_id: str = "headrace",
        client_secret: str = "s3cr%t/of the+client",
        first_refresh_token: str = "refresh-token-0",
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.refresh_token = first_refresh_token
        self.rotates = True
        self.expires_in: float | str | None = 3_600
        self.valid: set[str] = set()
        self.issued: list[str] = []
        self.asked: list[dict[str, str]] = []
        self.complaints: list[str] = []
        self.on_asked: Callable[[], None] = lambda: None
        self._numbers = count(1)

    def __call__(self, seen: Seen) -> Answer:
        """A token for who may have one."""
        form = dict(parse_qsl(seen.body.decode()))
        self.asked.append(form)
        self.on_asked()
        if self._client_of(seen, form) != (self.client_id, self.client_secret):
            return _error(401, "invalid_client", "Client authentication failed")
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != self.refresh_token:
                self.complaints.append(f"refresh token used again: {form.get('refresh_token')}")
                self.refresh_token = "revoked"
                return _error(400, "invalid_grant", "The refresh token was used before")
        elif form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type", "no such grant")
        return self._issue(with_refresh=form["grant_type"] == "refresh_token")

    def expire(self) -> None:
        """No token that was issued holds any more."""
        self.valid.clear()

    def problem(self, seen: Seen) -> str | None:
        """What is wrong with a request's token; for `ReplayServer.expect_auth`."""
        scheme, _, token = (seen.header("authorization") or "").partition(" ")
        if seen.path == "/token":
            return None
        if scheme != "Bearer" or token not in self.valid:
            return f"Bad credentials: {token}"  # some repeat what they were given
        return None

    def _issue(self, *, with_refresh: bool) -> Answer:
        token = f"access-token-{next(self._numbers)}"
        self.valid.add(token)
        self.issued.append(token)
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if with_refresh and self.rotates:
            self.refresh_token = f"refresh-token-{len(self.issued)}"
            answer["refresh_token"] = self.refresh_token
        return json_answer(json.dumps(answer).encode())

    def _client_of(self, seen: Seen, form: dict[str, str]) -> tuple[str | None, str | None]:
        scheme, _, value = (seen.header("authorization") or "").partition(" ")
        if scheme != "Basic":
            return form.get("client_id"), form.get("client_secret")
        name, _, secret = base64.b64decode(value).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)


def _error(status: int, error: str, description: str) -> Answer:
    body = {"error": error, "error_description": description}
    return json_answer(json.dumps(body).encode(), status)
