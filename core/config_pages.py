"""How an API hands its records out: over how many pages, since when, for which window of time."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, Tag, field_validator, model_validator

from headrace.config_section import BY_KIND, Section, check_names
from headrace.event_time import check_strptime
from headrace.units import Seconds


def _jmespath(value: str) -> str:
    from jmespath import compile as compile_path
    from jmespath.exceptions import JMESPathError

    try:
        compile_path(value)
    except JMESPathError as error:
        raise ValueError(f"expected a JMESPath (https://jmespath.org): {error}") from error
    return value


JmesPath = Annotated[str, AfterValidator(_jmespath)]
TimeFormat = Annotated[
    str,
    Field(
        description="`iso`, `date`, `epoch_s`, `epoch_ms`, or strptime's codes: how a time is"
        " written in the request"
    ),
]
_TIME_FORMATS = ("iso", "date", "epoch_s", "epoch_ms")


def _check_time_format(value: str) -> str:
    if value not in _TIME_FORMATS and "%" not in value:
        raise ValueError(f"expected strptime's codes or one of {', '.join(_TIME_FORMATS)}")
    return value


def _check_read_format(value: str) -> str:
    if _check_time_format(value) not in _TIME_FORMATS:
        try:
            check_strptime(value)
        except ValueError as error:
            raise ValueError(f"expected strptime's codes: {error}") from None
    return value


def _is_number(value: str | float) -> bool:
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return isinstance(value, int)


class _Pages(Section):
    """What every way of going through pages has."""

    max_pages: Annotated[
        int, Field(ge=1, description="of one request; a poll that would take more fails")
    ] = 10_000
    end_status: Annotated[
        tuple[int, ...],
        Field(description="statuses that say there is no further page, such as 404"),
    ] = ()


class NoPagination(Section):
    """One response holds everything."""

    kind: Annotated[Literal["none"], Field(description="one response holds everything")] = "none"


class LinkPagination(_Pages):
    """The `Link` header names the next page (RFC 8288), as GitHub's does."""

    kind: Annotated[Literal["link"], Field(description="the `Link` header names it")]
    rel: Annotated[str, Field(description="the relation that does")] = "next"


class NextUrlPagination(_Pages):
    """The body names the next page's URL."""

    kind: Annotated[Literal["next_url"], Field(description="the body has its URL")]
    path: Annotated[JmesPath, Field(description="JMESPath to the URL; nothing there: no more")]


class _Told(_Pages):
    """What every way has by which we say which page we want."""

    place: Annotated[
        Literal["query", "body"],
        Field(description="where it is said: in the query, or in the JSON that is sent"),
    ] = "query"


class TokenPagination(_Told):
    """The response has a token that the next request repeats: a cursor, a last id."""

    kind: Annotated[Literal["cursor"], Field(description="the response has a token for it")]
    path: Annotated[
        JmesPath | None, Field(description="JMESPath to it in the body, such as `data[-1].id`")
    ] = None
    header: Annotated[str | None, Field(description="or the header that has it")] = None
    parameter: Annotated[
        str, Field(description="that repeats it; in a body with dots, such as `variables.after`")
    ] = "cursor"
    more: Annotated[
        JmesPath | None, Field(description="JMESPath to what is true while there is more")
    ] = None

    @model_validator(mode="after")
    def _one_place(self) -> TokenPagination:
        if (self.path is None) == (self.header is None):
            raise ValueError("expected `path` (in the body) or `header`: where the token stands")
        return self


class _Counted(_Told):
    until: Annotated[
        Literal["empty", "short"],
        Field(description="the last page has no records, or fewer than `size`"),
    ] = "empty"
    size: Annotated[int | None, Field(ge=1, description="records of a full page")] = None
    total: Annotated[
        JmesPath | None, Field(description="JMESPath to how many records there are in all")
    ] = None

    @model_validator(mode="after")
    def _size_for_short(self) -> _Counted:
        if self.until == "short" and self.size is None:
            raise ValueError('`until = "short"` expects `size`: how many records a full page has')
        return self


class PagePagination(_Counted):
    """Pages are numbered."""

    kind: Annotated[Literal["page"], Field(description="pages are numbered")]
    parameter: Annotated[str, Field(description="that has the number")] = "page"
    first: Annotated[int, Field(ge=0, description="the first page's number")] = 1


class OffsetPagination(_Counted):
    """A page begins at so many records from the first."""

    kind: Annotated[Literal["offset"], Field(description="by the number of records before it")]
    parameter: Annotated[str, Field(description="that has the number")] = "offset"
    first: Annotated[int, Field(ge=0, description="the first record's number")] = 0


Pagination = Annotated[
    Annotated[NoPagination, Tag("none")]
    | Annotated[LinkPagination, Tag("link")]
    | Annotated[NextUrlPagination, Tag("next_url")]
    | Annotated[TokenPagination, Tag("cursor")]
    | Annotated[PagePagination, Tag("page")]
    | Annotated[OffsetPagination, Tag("offset")],
    BY_KIND,
]


def told_in_body(rule: Pagination) -> bool:
    """Whether a page is asked for in the body of the request."""
    match rule:
        case TokenPagination() | PagePagination() | OffsetPagination():
            return rule.place == "body"
        case _:
            return False


class Incremental(Section):
    """`cursor`: only what is new since the highest value seen of a field is asked for."""

    field: Annotated[JmesPath, Field(description="JMESPath to the field in a record")]
    parameter: Annotated[
        str | None,
        Field(description="of the query, that has the value; else `{cursor}` stands for it"),
    ] = None
    initial: Annotated[
        str | int | float | None,
        Field(description="the value of the first poll; none: the parameter is left out"),
    ] = None
    type: Annotated[
        Literal["time", "number", "text"], Field(description="how two values compare")
    ] = "time"
    format: Annotated[TimeFormat, AfterValidator(_check_read_format)] = "iso"
    overlap: Annotated[
        Seconds,
        Field(ge=0, description="asked for again each time: a duration, or for numbers a number"),
    ] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Incremental:
        if self.type == "text" and self.overlap:
            raise ValueError("texts have no distance: `overlap` is for times and numbers")
        if self.type == "number" and self.initial is not None and not _is_number(self.initial):
            raise ValueError(
                f'`type = "number"` expects a number as `initial`, found {self.initial!r}'
            )
        if self.parameter is None and self.initial is None:
            raise ValueError(
                "expected `parameter`, the query's, or `initial` for `{cursor}` to begin with"
            )
        return self


def _window_shorthand(value: Any) -> Any:
    return value if isinstance(value, dict | Window) else {"size": value}


class Window(Section):
    """`window`: records are asked for by a span of time, `{from}` to `{to}`."""

    size: Annotated[Seconds, Field(ge=1, description="how much of time a request is for")]
    start: Annotated[
        date | None, Field(description="the first date that polls ask for; else the current one")
    ] = None
    delay: Annotated[
        Seconds, Field(ge=0, description="how long after its end a window is asked for")
    ] = 0.0
    format: Annotated[TimeFormat, AfterValidator(_check_time_format)] = "iso"
    inclusive: Annotated[
        bool, Field(description="`{to}` belongs to the window: the last day, second or millisecond")
    ] = False


WindowKey = Annotated[Window, BeforeValidator(_window_shorthand)]


class PageOptions(Section):
    """Where records stand in a response, and which responses there are."""

    records: Annotated[
        JmesPath | None,
        Field(description="JMESPath to the records in a response; left out, all of it"),
    ] = None
    parallel: Annotated[
        str | None,
        Field(description="path to an object of arrays of equal length: a record per index"),
    ] = None
    pagination: Annotated[Pagination, Field(description="how one page leads to the next")] = (
        NoPagination()
    )
    cursor: Annotated[
        Incremental | None, Field(description="ask for what is new since the poll before")
    ] = None
    window: Annotated[
        WindowKey | None,
        Field(description="ask by spans of time, `{from}` to `{to}`, such as `1d`"),
    ] = None
    keep_unchanged: Annotated[
        bool, Field(description="publish a response also where it is the same as the one before")
    ] = False

    _check_parallel = field_validator("parallel")(check_names)

    @model_validator(mode="after")
    def _pages_fit(self) -> Self:
        if self.records is not None and self.parallel is not None:
            raise ValueError("expected either `records` or `parallel`")
        if self.cursor is not None and self.parallel is not None:
            raise ValueError("`cursor` needs `records`: it is read from each of them")
        if self.cursor is not None and self.window is not None:
            raise ValueError("expected either `cursor` or `window`: what was asked for last")
        return self
