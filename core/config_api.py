"""`[sources.<name>]` with `kind = "api"`: an HTTP API that is polled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from headrace.config_api_request import (
    GIVEN_VARIABLES,
    VARIABLE,
    RequestOptions,
    scalar_text,
)
from headrace.config_pages import PageOptions, told_in_body
from headrace.config_section import check_name
from headrace.units import Seconds

_OF_A_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*\Z")


class ApiSource(RequestOptions, PageOptions):
    """`[sources.<name>]` with `kind = "api"`: an HTTP API that is polled."""

    kind: Annotated[Literal["api"], Field(description="an HTTP API that is polled")]
    stream: Annotated[str, Field(description="where its records go")]
    every: Annotated[
        Seconds | None,
        Field(ge=1, description="poll on this schedule (Dagster's); else by `run` alone"),
    ] = None

    _check_stream = field_validator("stream")(check_name)

    @model_validator(mode="after")
    def _body_for_pages(self) -> Self:
        if told_in_body(self.pagination) and not (
            self.body is not None and isinstance(self.body.json_, dict)
        ):
            raise ValueError(
                '`pagination.place = "body"` needs `body = { json = { ... } }` to put it in'
            )
        return self

    @model_validator(mode="after")
    def _host_variables(self) -> Self:
        """What stands for a host is one: credentials go there."""
        host = self.url.partition("://")[2].partition("/")[0]
        for _, name in VARIABLE.findall(host):
            if name in GIVEN_VARIABLES:
                raise ValueError(f"{{ {name} }} cannot be part of the host")
            values = self.variables.get(name, "")
            for value in values if isinstance(values, list) else [values]:
                if not _OF_A_HOST.match(scalar_text(value)):
                    raise ValueError(
                        f"variables.{name} stands in the host of `url`: expected letters, digits,"
                        f" dots and dashes, found {scalar_text(value)!r}"
                    )
        return self

    @model_validator(mode="after")
    def _given_variables(self) -> Self:
        """Those that the poller gives are given, and are put somewhere."""
        body = None if self.body is None else (self.body.json_, self.body.form)
        used = set(_variables([self.url, self.query, self.headers, body]))
        in_window = used & {"from", "to"}
        if self.window is None and in_window:
            raise ValueError('{ from } and { to } are those of a `window`, such as window = "1d"')
        if self.window is not None and not in_window:
            raise ValueError(
                "`window` expects { from } or { to } in the address, the query or the body, such as"
                ' query = { start = "{ from }", end = "{ to }" }'
            )
        if "cursor" in used and (self.cursor is None or self.cursor.initial is None):
            raise ValueError("{ cursor } is that of a `cursor` with an `initial` value")
        if self.cursor is not None and self.cursor.parameter is None and "cursor" not in used:
            raise ValueError(
                "`cursor` expects `parameter`, the query's that has its value, or { cursor } where"
                " the value goes"
            )
        return self


def _variables(value: object) -> Iterator[str]:
    """The variables that stand anywhere in texts."""
    match value:
        case str():
            yield from (name for _, name in VARIABLE.findall(value))
        case Mapping():
            for inner in value.values():
                yield from _variables(inner)
        case list() | tuple():
            for inner in value:
                yield from _variables(inner)
        case _:
            return
