"""What goes with a request to prove who is asking."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from headrace.producers.api.page import Pairs


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """Headers and query variables. `token`: what of it can be renewed, if anything."""

    headers: Pairs = ()
    query: Pairs = ()
    token: str | None = None


def basic(username: str, password: str) -> str:
    """The value of a header of HTTP's basic scheme, in UTF-8."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
