"""`[sources.<name>]` with `kind = "api"`: an HTTP API that is polled."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from headrace.config_api_request import RequestOptions
from headrace.config_pages import PageOptions, told_in_body
from headrace.config_section import check_name
from headrace.units import Seconds


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
