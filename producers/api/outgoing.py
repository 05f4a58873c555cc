"""The headers of a request: the source's own at home, and elsewhere none that may be secret."""

from __future__ import annotations

from typing import Final

import headrace
from headrace.producers.api.page import PageRequest, Pairs
from headrace.producers.api.proof import Proof
from headrace.producers.api.response import ACCEPT_ENCODING

USER_AGENT: Final = f"headrace/{headrace.__version__}"
OWN_HEADERS: Final[Pairs] = (("User-Agent", USER_AGENT), ("Accept-Encoding", ACCEPT_ENCODING))
"""What every request has."""

_ACCEPT: Final = ("Accept", "application/json, */*;q=0.5")
_ANYWHERE: Final = frozenset({"accept", "content-type"})


def sent_headers(request: PageRequest, proof: Proof, *, is_home: bool) -> Pairs:
    """All headers of a request. `is_home`: it goes where the source's own address leads.

    Elsewhere any of the config's may be a credential, whatever it is called.
    """
    asked = [pair for pair in request.headers if pair[0].lower() != "user-agent"]
    asked += () if any(name.lower() == "accept" for name, _ in asked) else (_ACCEPT,)
    if not is_home:
        return (*(pair for pair in asked if pair[0].lower() in _ANYWHERE), *OWN_HEADERS)
    proven = {name.lower() for name, _ in proof.headers}
    return (
        *(pair for pair in asked if pair[0].lower() not in proven),
        *proof.headers,
        *_conditions(request),
        ("User-Agent", _user_agent(request)),
        ("Accept-Encoding", ACCEPT_ENCODING),
    )


def _conditions(request: PageRequest) -> Pairs:
    validators = request.validators
    found = (("If-None-Match", validators.etag), ("If-Modified-Since", validators.last_modified))
    return tuple((name, value) for name, value in found if value is not None)


def _user_agent(request: PageRequest) -> str:
    """The config's, where some API asks for a way to reach whoever calls, and ours."""
    names = [value for name, value in request.headers if name.lower() == "user-agent"]
    return " ".join([*names, USER_AGENT])
