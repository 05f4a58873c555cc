"""Who is asking, and how that is proved: by what never changes, or by tokens that are renewed."""

from __future__ import annotations

from typing import Protocol

from headrace.config_api_auth import (
    ApiAuth,
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    OAuth2Auth,
    TokenFileAuth,
)
from headrace.paths import ProjectPaths
from headrace.producers.api.clock import Clock
from headrace.producers.api.oauth import AccessTokens, TokenEndpoint
from headrace.producers.api.proof import Proof, basic
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.token_file import TokenFile
from headrace.producers.api.token_store import TokenStore


class Tokens(Protocol):
    """A token that changes."""

    async def current(self) -> str:
        """The token to send now. Raises `ApiRefusedError`; `PassingError`: a later try may work."""

    async def renew(self, stale: str) -> bool:
        """Whether there is another than `stale`, which was refused: renewed once for all."""


class Credentials:
    """The proofs of one source. `tokens`: those of an `auth` that has some."""

    def __init__(self, auth: ApiAuth, tokens: Tokens | None = None) -> None:
        self._auth = auth
        self._tokens = tokens

    async def proof(self) -> Proof:
        """What goes with the next request. Raises as `Tokens.current`."""
        if self._tokens is None:
            return fixed_proof(self._auth)
        token = await self._tokens.current()
        name, prefix = _header_of(self._auth)
        return Proof(headers=((name, prefix + token),), token=token)

    async def renew(self, refused: Proof) -> bool:
        """Whether a request refused with this proof is worth sending again, with the next one."""
        if self._tokens is None or refused.token is None:
            return False
        return await self._tokens.renew(refused.token)


def _header_of(auth: ApiAuth) -> tuple[str, str]:
    """Of a token: the header's name, and what stands before it."""
    if isinstance(auth, TokenFileAuth):
        return auth.name, auth.prefix
    return "Authorization", "Bearer "


def fixed_proof(auth: ApiAuth) -> Proof:
    """The proof of an `auth` that does not change; an empty one where it does, or is none."""
    match auth:
        case ApiKeyAuth():
            key = auth.key.get_secret_value()
            if auth.place == "query":
                return Proof(query=((auth.name, key),))
            return Proof(headers=((auth.name, auth.prefix + key),))
        case BasicAuth():
            value = basic(auth.username, auth.password.get_secret_value())
            return Proof(headers=(("Authorization", value),))
        case BearerAuth():
            return Proof(headers=(("Authorization", f"Bearer {auth.token.get_secret_value()}"),))
        case _:
            return Proof()


def secret_query_names(auth: ApiAuth) -> frozenset[str]:
    """Names of query variables that are secret by the config."""
    if isinstance(auth, ApiKeyAuth) and auth.place == "query":
        return frozenset({auth.name})
    return frozenset()


def credentials_of(
    name: str,
    auth: ApiAuth,
    paths: ProjectPaths,
    endpoint: TokenEndpoint,
    clock: Clock,
    redaction: Redaction,
) -> Credentials:
    """Those of the source `name`. `redaction` learns each secret that comes up later."""
    match auth:
        case TokenFileAuth():
            return Credentials(auth, TokenFile(paths.root / auth.path, redaction.add))
        case OAuth2Auth():
            first = auth.refresh_token.get_secret_value() if auth.refresh_token else ""
            store = TokenStore(paths.tokens / f"{name}.json", auth.token_url, auth.client_id, first)
            return Credentials(auth, AccessTokens(auth, endpoint, store, clock, redaction))
        case _:
            for _, value in fixed_proof(auth).headers:
                redaction.add(value.partition(" ")[2])
            return Credentials(auth)
