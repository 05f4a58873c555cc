"""What every handler is told besides the request, and what every answer has in common."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from kio.schema.types import BrokerId
from kio.static.primitive import i32, i32Timedelta

NODE_ID: Final = BrokerId(0)
"""The one node of the cluster."""
LEADER_EPOCH: Final = i32(0)
"""There is one leader and it never changes."""
NO_THROTTLE: Final = i32Timedelta.parse(dt.timedelta(0))


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, in which version, and which address it is to use."""

    version: int
    client_id: str
    client_host: str
    host: str
    port: int


Handler = Callable[[Any, Call], Awaitable[Any]]
"""Takes an API's newest offered request class, gives its newest response; None sends none."""
