"""Asks an API for pages, with the manners and the proof that its source's config says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import httpx
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from headrace.config_api_request import RequestOptions
from headrace.errors import (
    ApiContentError,
    ApiError,
    ApiRefusedError,
)
from headrace.metrics import API_REQUESTS
from headrace.paths import ProjectPaths
from headrace.producers.api.allowance import Allowance, Cursors
from headrace.producers.api.auth import Credentials, credentials_of, secret_query_names
from headrace.producers.api.clock import Clock
from headrace.producers.api.content import what_is_wrong
from headrace.producers.api.failures import given_up, refused, told
from headrace.producers.api.home import Home
from headrace.producers.api.outgoing import OWN_HEADERS, sent_headers
from headrace.producers.api.page import Page, PageRequest, Pairs
from headrace.producers.api.proof import Proof
from headrace.producers.api.redaction import Redaction
from headrace.producers.api.redirects import REDIRECTS, RedirectError, redirected
from headrace.producers.api.request import address
from headrace.producers.api.retry import Meaning, PassingError, WaitBefore, judge
from headrace.producers.api.sending import Answer, Sender
from headrace.producers.delivery import Exchange

log = structlog.get_logger("produce")

_TOKEN_ANSWER_BYTES: Final = 2**20
# A person who waits so long wants to know what for.
_TOLD_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Followed:
    """The last answer of a chain of redirects, the request that it is to, and with what proof."""

    answer: Answer
    request: PageRequest
    proof: Proof


class ApiClient:
    """One source's way to its API; used in one event loop, closed at its end.

    `cursors`: the ledger, which counts the day's requests. `transport`: in the network's place.
    `on_wait` hears, in words, of a request that waits for its next try longer than a moment.
    """

    def __init__(
        self,
        name: str,
        source: RequestOptions,
        *,
        paths: ProjectPaths,
        cursors: Cursors,
        clock: Clock = Clock(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._name = name
        self._source = source
        self._clock = clock
        self._on_wait = on_wait
        self._redaction = Redaction(source.secrets, secret_query_names(source.auth))
        self._sender = Sender(source.timeouts, self._redaction, transport=transport)
        self._credentials: Credentials = credentials_of(
            name, source.auth, paths, self._send_for_token, clock, self._redaction
        )
        self._allowance = Allowance(name, source, cursors, clock)
        self._home = Home(source, self._redaction)
        self._slots = asyncio.Semaphore(source.concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.close()

    def shown(self, text: str) -> str:
        """A text without secrets: an address, a name, a message."""
        return self._redaction.text(text)

    async def fetch(self, request: PageRequest) -> Page:
        """The page that a request asks for, or word that there is nothing newer (`not_modified`).

        What passes is tried again first. Raises `ApiRefusedError` (for good), `ApiUnavailableError`
        and `ApiBudgetError` (`until` says when to ask again, where that is known),
        `ApiContentError` and `ApiTooLargeError` (an answer, and no page).
        """
        began = self._clock.monotonic()
        tries = AsyncRetrying(
            sleep=self._clock.sleep,
            wait=WaitBefore(self._source.retries),
            stop=lambda state: self._is_enough(state, began),
            retry=retry_if_exception_type(PassingError),
            before_sleep=lambda state: self._tell_of_retry(request, state),
            reraise=True,
        )
        try:
            return await tries(self._try, request)
        except PassingError as error:
            number = int(tries.statistics["attempt_number"])
            failure = given_up(error, number, self._clock.now(), is_safe=self._source.is_safe)
            raise self._placed(failure, request) from error
        except ApiError as error:
            raise self._placed(error, request) from error.__cause__

    def _placed(self, error: ApiError, request: PageRequest) -> ApiError:
        """The error with what it is about, and without secrets."""
        about = f"sources.{self._name}: {request.method} {address(request)}"
        error.message = self.shown(f"{about}: {error.message}")
        return error

    # --- One try.

    async def _try(self, request: PageRequest) -> Page:
        followed = await self._follow(request)
        if followed.answer.status == 401 and await self._credentials.renew(followed.proof):
            log.info("api_token_renewed", source=self._name)
            followed = await self._follow(request)
        answer = followed.answer
        meant = judge(answer.status, answer.headers, self._clock.now(), method=request.method)
        match meant.meaning:
            case Meaning.PAGE:
                return await self._page(followed)
            case Meaning.REFUSED:
                raise refused(answer, self._redaction)
            case _:
                if meant.wait is not None:
                    await self._allowance.hold(meant.wait)
        raise PassingError(told(answer, self._redaction), wait=meant.wait, was_done=meant.was_done)

    async def _follow(self, request: PageRequest) -> _Followed:
        hop = request
        for _ in range(self._source.max_redirects + 1):
            is_home = self._home.has(hop)
            hop = self._home.at_home(hop) if is_home else self._home.for_strangers(hop)
            url = address(hop)
            proof = await self._credentials.proof() if is_home else Proof()
            answer = await self._send(hop, proof, is_home=is_home)
            if answer.status not in REDIRECTS:
                return _Followed(answer, hop, proof)
            try:
                hop = redirected(hop, url, answer.status, _header(answer.headers, "location"))
            except RedirectError as error:
                raise ApiRefusedError(
                    f"{answer.status}: the redirect {error}",
                    remedy="set url to where the API is by now",
                    status=answer.status,
                ) from error
        raise ApiRefusedError(
            f"redirected more than {self._source.max_redirects} times in a row",
            remedy="set url to where the API is by now, or raise max_redirects",
        )

    async def _send(self, request: PageRequest, proof: Proof, *, is_home: bool) -> Answer:
        url = address(replace(request, query=(*request.query, *proof.query)))
        headers = sent_headers(request, proof, is_home=is_home)
        async with self._slots:
            await self._allowance.wait()
            API_REQUESTS.labels(self._name).inc()
            answer = await self._sender.send(
                request.method, url, headers, request.body, self._source.max_response
            )
        if is_home:
            await self._allowance.heed(answer.headers)
        return answer

    async def _send_for_token(self, url: str, headers: Pairs, form: bytes) -> Answer:
        """A token is no page: it is in no budget, and not redirected with its secrets."""
        headers = (*headers, *OWN_HEADERS)
        return await self._sender.send("POST", url, headers, form, _TOKEN_ANSWER_BYTES)

    # --- What comes of it.

    async def _page(self, followed: _Followed) -> Page:
        answer, request = followed.answer, followed.request
        if answer.status == 304 and not request.validators:
            raise ApiContentError("304: the server says that nothing changed, and was not asked")
        if answer.status not in (204, 205, 304):
            problem = await what_is_wrong(answer, request.expected, self._redaction.text)
            if problem is not None:
                raise PassingError(f"{answer.status}: {problem}", is_content=True)
        url = address(request)
        received_at = self._clock.now()
        exchange = Exchange(
            method=request.method,
            url=self._redaction.text(url),
            status=answer.status,
            headers=self._redaction.headers(answer.headers),
            received_at=received_at,
        )
        return Page(answer.status, answer.headers, answer.body, url, received_at, exchange)

    def _is_enough(self, state: RetryCallState, began: float) -> bool:
        options = self._source.retries
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, PassingError) or (error.was_done and not self._source.is_safe):
            return True
        if state.attempt_number >= options.attempts or (error.wait or 0.0) > options.max_wait:
            return True
        passed = self._clock.monotonic() - began
        return passed + state.upcoming_sleep > options.give_up_after

    def _tell_of_retry(self, request: PageRequest, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.info(
            "api_request_again",
            source=self._name,
            request=self.shown(f"{request.method} {address(request)}"),
            reason=self.shown(str(error)),
            attempt=state.attempt_number,
            seconds=round(state.upcoming_sleep, 1),
        )
        if state.upcoming_sleep >= _TOLD_WAIT_SECONDS:
            again = self._clock.now() + timedelta(seconds=state.upcoming_sleep)
            number, most = state.attempt_number + 1, self._source.retries.attempts
            text = f"{error}: asked again at {again:%H:%M:%S} UTC (try {number} of {most})"
            self._on_wait(self.shown(f"{self._name}: {text}"))


def _header(headers: Pairs, name: str) -> str | None:
    return next((value for key, value in headers if key == name), None)
