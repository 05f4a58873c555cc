"""`[sources.<name>]` with `kind = "webhook"`: calls to `POST /hooks/<name>`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from headrace.config_pages import JmesPath
from headrace.config_section import Section, check_name
from headrace.units import Bytes, Seconds

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_CONTENT_TYPE: Final = re.compile(r"(\*|[a-z0-9.+_-]+)/[a-z0-9.+_*-]+\Z")
_STANDARD_PREFIX: Final = "whsec_"
# Of a key for HMAC: less could be guessed.
_LEAST_SECRET_CHARACTERS: Final = 8

_DEFAULT_HEADERS: Final = {
    "github": "X-Hub-Signature-256",
    "standard": "webhook-signature",
    "stripe": "Stripe-Signature",
    "token": "Authorization",
}


def check_header_name(value: str) -> str:
    """The name of an HTTP header."""
    if not _HEADER_NAME.match(value):
        raise ValueError("expected the name of a header, such as X-GitHub-Event")
    return value


def standard_key(secret: str) -> bytes:
    """The key in a secret of Standard Webhooks; raises ValueError where it is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("expected whsec_ and a key in base64") from error
    if len(key) < _LEAST_SECRET_CHARACTERS:
        raise ValueError(f"expected whsec_ and a key of at least {_LEAST_SECRET_CHARACTERS} bytes")
    return key


class Signature(Section):
    """`signature = { ... }` of a webhook: how a caller shows who he is."""

    kind: Annotated[
        Literal["github", "standard", "stripe", "token", "none"],
        Field(
            description="github: `X-Hub-Signature-256`; standard: Standard Webhooks, also as svix"
            " sends them; stripe: `t=...,v1=...`; token: the secret itself in a header; none:"
            " anybody may call"
        ),
    ]
    secret: Annotated[SecretStr | None, Field(description='write it as `{ env = "NAME" }`')] = None
    secrets: Annotated[
        tuple[SecretStr, ...],
        Field(max_length=2, description="two that hold at once, while one takes the other's place"),
    ] = ()
    header: Annotated[
        str | None, Field(description="where it stands, if not where the scheme has it")
    ] = None
    replay_window: Annotated[
        Seconds,
        Field(gt=0, description="how old or early a timestamp may be (standard and stripe)"),
    ] = 300.0

    @field_validator("header")
    @classmethod
    def _check_header(cls, value: str | None) -> str | None:
        return None if value is None else check_header_name(value)

    @model_validator(mode="after")
    def _complete(self) -> Signature:
        # A message here must not show a secret: pydantic shows the input of what it checks, which
        # is a table here.
        if self.kind not in ("standard", "stripe") and "replay_window" in self.model_fields_set:
            raise ValueError(
                'replay_window is for kind = "standard" and "stripe": others sign no time of a call'
            )
        if self.kind == "none":
            if self.keys or self.header is not None:
                raise ValueError('kind = "none" checks nothing: it takes neither secret nor header')
            return self
        if self.secret is not None and self.secrets:
            raise ValueError("expected `secret` or `secrets`, found both")
        if not self.keys:
            raise ValueError(f'kind = "{self.kind}" expects `secret = {{ env = "NAME" }}`')
        for key in self.keys:
            if len(key) < _LEAST_SECRET_CHARACTERS:
                raise ValueError(
                    f"a secret has {len(key)} characters, expected at least"
                    f" {_LEAST_SECRET_CHARACTERS}: is its variable empty?"
                )
            if self.kind == "standard":
                standard_key(key)
        if self.kind == "standard" and self.header is not None:
            raise ValueError("header: Standard Webhooks says which headers there are")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """The secrets that hold."""
        found = self.secrets if self.secret is None else (self.secret,)
        return tuple(secret.get_secret_value() for secret in found)

    @property
    def header_name(self) -> str | None:
        """Where it stands; None where nothing is checked."""
        return self.header or _DEFAULT_HEADERS.get(self.kind)


class WebhookSource(Section):
    """`[sources.<name>]` with `kind = "webhook"`: calls to `POST /hooks/<name>`."""

    kind: Annotated[Literal["webhook"], Field(description="calls to `POST /hooks/<name>`")]
    stream: Annotated[str, Field(description="where its records go")]
    signature: Annotated[
        Signature, Field(description='how a caller shows who he is; "none": anybody may call')
    ]
    delivery_id_header: Annotated[
        str | None,
        Field(
            description="the sender's id of a call, which is taken in once; left out:"
            " `X-GitHub-Delivery`, `webhook-id`, Stripe's event id or a CloudEvent's, by scheme"
        ),
    ] = None
    identity: Annotated[
        Literal["sender", "content", "arrival"],
        Field(
            description="what tells calls apart: the sender's id (their content where they have"
            " none), their content alone, or nothing: every call is one of its own"
        ),
    ] = "sender"
    records: Annotated[
        JmesPath | None,
        Field(
            description="JMESPath to the records in a body of JSON; left out: an object is one, an"
            " array's elements are one each"
        ),
    ] = None
    headers: Annotated[
        tuple[str, ...],
        Field(max_length=32, description="headers of the call that each record gets in `_headers`"),
    ] = ()
    content_types: Annotated[
        tuple[str, ...], Field(min_length=1, description="what a body may be; others get a 415")
    ] = ("*/*",)
    max_body: Annotated[Bytes, Field(ge=1, le=1_000_000_000, description="else a 413")] = 25_000_000
    max_waiting: Annotated[
        Bytes,
        Field(
            ge=1_000_000,
            description="of calls that were answered but are no deliveries yet, as when the broker"
            " is away; above it callers get a 429",
        ),
    ] = 1_000_000_000

    _check_stream = field_validator("stream")(check_name)

    @field_validator("signature", mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("delivery_id_header")
    @classmethod
    def _check_id_header(cls, value: str | None) -> str | None:
        return None if value is None else check_header_name(value)

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_header_name(name) for name in value)

    @field_validator("content_types")
    @classmethod
    def _check_content_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for content_type in value:
            if not _CONTENT_TYPE.match(content_type):
                raise ValueError("expected content types such as application/json or text/*")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> WebhookSource:
        if self.delivery_id_header is not None and self.identity != "sender":
            raise ValueError('delivery_id_header is for identity = "sender"')
        secret_headers = {"authorization", "cookie", "proxy-authorization"}
        if self.signature.header_name is not None and self.signature.kind == "token":
            secret_headers.add(self.signature.header_name.lower())
        for name in self.headers:
            if name.lower() in secret_headers:
                raise ValueError(f"headers: {name} holds a secret, which must not be in a record")
        return self

    @property
    def every(self) -> None:
        """No schedule: calls come by themselves."""
        return
