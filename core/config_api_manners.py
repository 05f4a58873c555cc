"""How an API source behaves towards its server: how often, how long, how much."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headrace.config_section import Section
from headrace.units import Seconds


class RateLimit(Section):
    """`rate_limit`: never more requests than so many in any such time."""

    requests: Annotated[int, Field(ge=1, description="so many at most")]
    per: Annotated[Seconds, Field(gt=0, le=86_400, description="in any such time")] = 1.0


class RetryOptions(Section):
    """`retries`: what did not work is tried again, after waits that double, with some chance."""

    attempts: Annotated[int, Field(ge=1, description="the first one among them")] = 5
    first_wait: Annotated[Seconds, Field(ge=0, description="before the second one")] = 1.0
    max_wait: Annotated[
        Seconds,
        Field(ge=0, description="before any; a server that asks for more is left alone until then"),
    ] = 120.0
    give_up_after: Annotated[Seconds, Field(gt=0, description="of tries and waits together")] = (
        600.0
    )


class TimeoutOptions(Section):
    """`timeouts` of one try."""

    connect: Annotated[Seconds, Field(gt=0, description="until there is a connection")] = 10.0
    read: Annotated[Seconds, Field(gt=0, description="between two pieces of an answer")] = 30.0
    total: Annotated[Seconds, Field(gt=0, description="until the whole answer is there")] = 120.0
