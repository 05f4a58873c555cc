"""What an API source asks for, as whom, and with what manners; `headrace.config_api` has the rest.

`{ name }` in the address, in a value of the query, a header or the body stands for a variable.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from headrace.config_api_auth import ApiAuth, NoAuth, check_header_name, check_http_url
from headrace.config_api_manners import RateLimit, RetryOptions, TimeoutOptions
from headrace.config_secrets import environment_values
from headrace.config_section import Section
from headrace.units import Bytes

VARIABLE: Final = re.compile(r"\{ *(\+?)([a-z][a-z0-9_]*) *\}")
"""`{ name }`; with a plus, `/` and what else has a meaning in an address stays as it is."""

GIVEN_VARIABLES: Final = frozenset({"from", "to", "cursor", "now"})
"""Those that the poller gives, so that the config's own have other names."""

Scalar = str | int | float | bool | date
_NEVER_SET: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "range"}
)
_MAY_BE_SECRET: Final = ("query", "headers", "body", "variables", "auth")
_SHORTEST_SECRET: Final = 6
# Sending one of these twice changes nothing, says HTTP.
_SAFE_METHODS: Final = frozenset({"GET"})


def _is_no_number_or_word(value: str) -> bool:
    """Whether a value of the environment may be a secret: a page size or a currency is none.

    Hidden, it would be so wherever it stands: in the number of a page, too.
    """
    return len(value) >= _SHORTEST_SECRET and not (value.isdecimal() and len(value) < 10)


def scalar_text(value: Scalar) -> str:
    """A value as it is written in an address."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


class BodyOptions(Section):
    """`body`: what is sent with the request, as JSON or as a form."""

    json_: Annotated[
        JsonValue, Field(alias="json", description="sent as JSON; variables in its texts")
    ] = None
    form: Annotated[dict[str, Scalar], Field(description="sent as a form's fields")] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if ("json_" in self.model_fields_set) == bool(self.form):
            raise ValueError("expected either json or form")
        return self


class RequestOptions(Section):
    """What is asked for, as whom, and with what manners."""

    url: Annotated[str, Field(description="what is asked for, such as https://host/items/{ id }")]
    method: Annotated[Literal["GET", "POST"], Field(description="how it is asked for")] = "GET"
    query: Annotated[
        dict[str, Scalar | list[Scalar]],
        Field(
            description="after the address; a list is the same name several times",
        ),
    ] = Field(default_factory=dict)
    headers: Annotated[
        dict[str, str],
        Field(description="sent to the source's own host, and to no other"),
    ] = Field(default_factory=dict)
    body: Annotated[BodyOptions | None, Field(description="sent with a POST")] = None
    variables: Annotated[
        dict[str, Scalar | list[Scalar]],
        Field(
            description="stand for `{ name }`; of a list, each value is asked for by itself",
        ),
    ] = Field(default_factory=dict)
    auth: Annotated[ApiAuth, Field(description="what proves who is asking")] = NoAuth()
    trusted_hosts: Annotated[
        tuple[str, ...],
        Field(
            description="others that get headers and credentials, when the API leads there, as"
            " `host` (at any port) or `host:port`"
        ),
    ] = ()
    safe_to_repeat: Annotated[
        bool, Field(description="a POST that changes nothing may be sent again after a failure")
    ] = False
    rate_limit: Annotated[
        RateLimit | None, Field(description="never more requests than so many in a time")
    ] = None
    daily_budget: Annotated[
        int | None, Field(ge=1, description="requests a day (UTC), those tried again among them")
    ] = None
    concurrency: Annotated[int, Field(ge=1, le=64, description="requests at the same time")] = 2
    retries: Annotated[RetryOptions, Field(description="how what did not work is tried again")] = (
        RetryOptions()
    )
    timeouts: Annotated[TimeoutOptions, Field(description="of one try")] = TimeoutOptions()
    max_response: Annotated[
        Bytes, Field(ge=1, description="of one answer, unpacked; a larger one is not taken")
    ] = 64_000_000
    max_redirects: Annotated[int, Field(ge=0, le=20, description="followed in a row")] = 5
    conditional: Annotated[
        bool, Field(description="ask only for what has changed, where the server says how")
    ] = True

    _from_environment: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def secrets(self) -> frozenset[str]:
        """Every text that must be shown nowhere: of `auth`, or from the environment.

        Of the latter no short ones and no numbers: too much has those in it and is no secret.
        """
        own = {value.get_secret_value() for _, value in self.auth if isinstance(value, SecretStr)}
        return self._from_environment | frozenset(own)

    @property
    def is_safe(self) -> bool:
        """Whether the request may be sent again when nobody knows what became of it."""
        return self.method in _SAFE_METHODS or self.safe_to_repeat

    @model_validator(mode="wrap")
    @classmethod
    def _remember_secrets(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        source = handler(data)
        if isinstance(data, dict):
            found = environment_values([data.get(key) for key in _MAY_BE_SECRET])
            found = frozenset(filter(_is_no_number_or_word, found))
            private = source.__pydantic_private__
            assert private is not None
            private["_from_environment"] = found
        return source

    @field_validator("url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        check_http_url(VARIABLE.sub("x", url))
        return url

    @field_validator("headers")
    @classmethod
    def _known_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            check_header_name(name)
            if name.lower() in _NEVER_SET:
                raise ValueError(f"expected no {name}: that is set by what is sent")
            if any(ord(c) < 32 or ord(c) == 127 for c in value):
                raise ValueError(f"expected no control characters in the value of {name}")
        return headers

    @field_validator("trusted_hosts")
    @classmethod
    def _host_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", host):
                raise ValueError(f"expected a host such as api.example.com, found {host!r}")
        return tuple(host.lower() for host in hosts)

    @field_validator("variables")
    @classmethod
    def _variable_names(
        cls, variables: dict[str, Scalar | list[Scalar]]
    ) -> dict[str, Scalar | list[Scalar]]:
        for name, values in variables.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"expected names of lower-case letters, digits and _: {name!r}")
            if name in GIVEN_VARIABLES:
                raise ValueError(f"{name} is given by headrace: choose another name")
            if values == []:
                raise ValueError(f"{name} has no value at all")
        return variables

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.body is not None and self.method != "POST":
            raise ValueError('a body needs method = "POST"')
        known = GIVEN_VARIABLES | set(self.variables)
        texts = [self.url, *self.headers.values()]
        for values in self.query.values():
            texts += [
                v for v in (values if isinstance(values, list) else [values]) if isinstance(v, str)
            ]
        for text in texts:
            for _, name in VARIABLE.findall(text):
                if name not in known:
                    raise ValueError(
                        f"{{ {name} }} stands for no variable: expected one of"
                        f" {', '.join(sorted(known))}"
                    )
        return self
