"""Where a source's secrets may go: to the place that its own address names, and to no other."""

from __future__ import annotations

from headrace.config_api_request import RequestOptions
from headrace.errors import ApiRefusedError
from headrace.producers.api.auth import secret_query_names
from headrace.producers.api.page import PageRequest
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.redirects import origin, without_pairs
from headrace.producers.api.request import address, home_origins


class Home:
    """The places of one source: scheme, host and port of its address, and the trusted hosts."""

    def __init__(self, source: RequestOptions, redaction: Redaction) -> None:
        self._redaction = redaction
        self._origins = home_origins(source)
        self._trusted = frozenset(source.trusted_hosts)
        self._is_plain = all(scheme == "http" for scheme, _, _ in self._origins)
        self._added = secret_query_names(source.auth)

    def has(self, request: PageRequest) -> bool:
        """Whether a request goes there. Raises `ApiRefusedError` where it goes nowhere."""
        try:
            place = origin(request.url)
        except ValueError as error:
            raise ApiRefusedError(
                str(error), remedy="check where the next page's address comes from"
            ) from error
        scheme, host, port = place
        is_trusted = host in self._trusted or f"{host}:{port}" in self._trusted
        return place in self._origins or (is_trusted and (scheme == "https" or self._is_plain))

    def at_home(self, request: PageRequest) -> PageRequest:
        """The request without what the proof adds: a server repeats it in the places it names."""
        return without_pairs(request, lambda name, _: name in self._added)

    def for_strangers(self, request: PageRequest) -> PageRequest:
        """The request without our secrets, which a server takes along to the places it names.

        Raises `ApiRefusedError` where one cannot be left behind.
        """
        bare = without_pairs(request, self._redaction.is_credential)
        if self._redaction.holds(address(bare)):
            raise ApiRefusedError(
                f"the way leads to another host ({origin(bare.url)[1]}) with a secret in it",
                remedy="set url to where the API is by now, or name the host in trusted_hosts",
            )
        return bare
