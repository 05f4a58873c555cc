"""`auth` of an API source: what proves to the server who is asking."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, Tag, field_validator, model_validator

from headrace.config_section import BY_KIND, Section

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


def check_header_name(name: str) -> str:
    """What HTTP takes for the name of a header."""
    if not _HEADER_NAME.match(name):
        raise ValueError("expected the name of a header, such as X-Api-Key")
    return name


def check_http_url(url: str) -> str:
    """An absolute address without a password in it: it would be in every name and message."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("expected an address such as https://api.example.com/v1/items") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("expected an address such as https://api.example.com/v1/items")
    if "@" in parts.netloc:
        raise ValueError('expected no user and password in it: use auth = { kind = "basic", ... }')
    return url


class NoAuth(Section):
    """`auth = { kind = "none" }`: the API asks nobody who he is."""

    kind: Annotated[Literal["none"], Field(description="the API is open to all")] = "none"


class ApiKeyAuth(Section):
    """A key in a header, or in the query."""

    kind: Annotated[Literal["api_key"], Field(description="a key in a header or in the query")]
    key: Annotated[SecretStr, Field(description='the key: { env = "NAME" }')]
    name: Annotated[str, Field(min_length=1, description="of the header, or in the query")]
    place: Annotated[Literal["header", "query"], Field(description="where it goes")] = "header"
    prefix: Annotated[str, Field(description="before the key in a header, such as `Token `")] = ""

    @model_validator(mode="after")
    def _name_fits(self) -> ApiKeyAuth:
        if self.place == "header":
            check_header_name(self.name)
        elif self.prefix:
            raise ValueError("expected no prefix for a key in the query")
        return self


class BasicAuth(Section):
    """A user's name and password with each request."""

    kind: Annotated[Literal["basic"], Field(description="a user's name and password")]
    username: Annotated[str, Field(description="the user's name, without a colon")]
    password: Annotated[SecretStr, Field(description='may be empty: { env = "NAME" }')]

    @field_validator("username")
    @classmethod
    def _no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("expected no colon in it: HTTP ends a user's name there")
        return value


class BearerAuth(Section):
    """A token that does not change."""

    kind: Annotated[Literal["bearer"], Field(description="a token that does not change")]
    token: Annotated[SecretStr, Field(min_length=1, description='{ env = "NAME" }')]


class TokenFileAuth(Section):
    """A token in a file that somebody else renews: read again when it changes, and after a 401."""

    kind: Annotated[Literal["token_file"], Field(description="a file that somebody else renews")]
    path: Annotated[str, Field(min_length=1, description="of the file, relative to the project")]
    name: Annotated[str, Field(description="of the header")] = "Authorization"
    prefix: Annotated[str, Field(description="before the token")] = "Bearer "

    _check_name = field_validator("name")(check_header_name)


class OAuth2Auth(Section):
    """An access token that we get, and renew before it expires."""

    kind: Annotated[Literal["oauth2"], Field(description="an access token that we renew")]
    grant: Annotated[
        Literal["client_credentials", "refresh_token"],
        Field(description="what the token is given for"),
    ] = "client_credentials"
    token_url: Annotated[str, Field(description="where tokens are given")]
    client_id: Annotated[str, Field(min_length=1, description="as the API's owner gave it")]
    client_secret: Annotated[
        SecretStr | None, Field(description='left out for a public client: { env = "NAME" }')
    ] = None
    refresh_token: Annotated[
        SecretStr | None,
        Field(
            description="the first one, with grant refresh_token; those that take its place are"
            " kept below .headrace"
        ),
    ] = None
    scope: Annotated[str | None, Field(description="what for, separated by spaces")] = None
    client_auth: Annotated[
        Literal["basic", "body"], Field(description="where the client's secret goes")
    ] = "basic"
    parameters: Annotated[
        dict[str, str],
        Field(description="more for the token's request, such as audience"),
    ] = Field(default_factory=dict)

    _check_url = field_validator("token_url")(check_http_url)

    @model_validator(mode="after")
    def _grant_fits(self) -> OAuth2Auth:
        if self.grant == "refresh_token" and self.refresh_token is None:
            raise ValueError('grant "refresh_token" needs a refresh_token to begin with')
        if self.grant == "client_credentials":
            if self.refresh_token is not None:
                raise ValueError('a refresh_token is for grant = "refresh_token"')
            if self.client_secret is None:
                raise ValueError('grant "client_credentials" needs a client_secret')
        return self


ApiAuth = Annotated[
    Annotated[NoAuth, Tag("none")]
    | Annotated[ApiKeyAuth, Tag("api_key")]
    | Annotated[BasicAuth, Tag("basic")]
    | Annotated[BearerAuth, Tag("bearer")]
    | Annotated[TokenFileAuth, Tag("token_file")]
    | Annotated[OAuth2Auth, Tag("oauth2")],
    BY_KIND,
]
