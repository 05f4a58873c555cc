"""Where a running producer is asked, over HTTP, to look at its sources now: `POST /produce`.

Where `[produce] token` is set, only who sends it as a bearer token is answered.

The question is `{"source": NAME or null, "until_landed": true}`; with `"decision": {"action":
"revoke", "delivery_ids": [ID], "erase": false}` that is carried out instead; with `"from": DATE,
"to": DATE` an API is asked for those. The answer is one JSON object a line: `progress` while it
goes on, `notice` for what a person should know, `done` with the figures or `error` at its end.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import date
from typing import Annotated, Final

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from headrace.errors import HeadraceError
from headrace.producers.api.backfill import backfill_span
from headrace.producers.decisions import Decision
from headrace.producers.outcome import ProduceProgress, ProduceSummary
from headrace.producers.producer import Producer, chosen_sources
from headrace.role_http import Health

log = structlog.get_logger("produce")

NDJSON: Final = "application/x-ndjson"
# Whoever waits hears from us at least so often, and so notices when there is nobody any more.
HEARTBEAT_SECONDS: Final = 5.0
_LONGEST_QUESTION_BYTES: Final = 10_000_000


class ProducerStoppedError(HeadraceError):
    """The producer ended, or had not begun, while it was asked."""


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str | None = None
    until_landed: bool = True
    decision: Decision | None = None
    from_: Annotated[date | None, Field(alias="from")] = None
    to: date | None = None

    @property
    def dates(self) -> tuple[date, date] | None:
        """Which an API is asked for, both included."""
        return None if self.from_ is None or self.to is None else (self.from_, self.to)


class AskDesk:
    """Takes questions in the HTTP port's thread and has the producer's event loop answer them."""

    def __init__(self, token: SecretStr | None = None) -> None:
        self._token = token
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._closed_as = "the producer is stopping or starting"

    def routes(self) -> list[BaseRoute]:
        """What the HTTP port serves for it."""
        return [Route("/produce", self._asked, methods=["POST"])]

    def health(self) -> Health:
        """Whether the producer does its work; called in any thread."""
        with self._lock:
            if self._producer is None:
                return Health(ok=False, reason=self._closed_as)
            reason = self._producer.why_unwell()
        return Health(ok=reason is None, reason=reason)

    def is_closed_as(self, reason: str) -> None:
        """Say so while it is closed, to whoever asks if the producer is well."""
        with self._lock:
            self._closed_as = reason

    def tell_counts(self) -> None:
        """Set the gauges that are counted when they are asked for; called in any thread."""
        with self._lock:
            if self._producer is not None:
                self._producer.counts.tell()

    @asynccontextmanager
    async def open(self, producer: Producer) -> AsyncIterator[None]:
        """Answer meanwhile; who still waits at the end is told that the producer stopped."""
        with self._lock:
            self._producer, self._loop = producer, asyncio.get_running_loop()
        try:
            yield
        finally:
            with self._lock:
                self._producer = None
            for answer in self._answers:
                answer.cancel()
            if self._answers:
                await asyncio.wait(self._answers)

    # --- in the HTTP port's thread

    async def _asked(self, request: Request) -> Response:
        if not self._is_known(request):
            return JSONResponse(_error(_unknown()), 401, {"WWW-Authenticate": "Bearer"})
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LONGEST_QUESTION_BYTES:
                break
        try:
            question = _Question.model_validate_json(body or b"{}")
        except ValidationError as error:
            text = "; ".join(detail["msg"] for detail in error.errors())
            refusal = HeadraceError(f"this is not a question for a producer: {text}")
            return JSONResponse(_error(refusal), status_code=422)
        with self._lock:
            producer, loop = self._producer, self._loop
        if producer is None or loop is None:
            return JSONResponse(_error(_stopped()), status_code=503)
        try:
            chosen_sources(producer.config, question.source)
        except HeadraceError as error:
            return JSONResponse(_error(error), status_code=404)
        lines: asyncio.Queue[dict[str, object] | None] = asyncio.Queue()
        here = asyncio.get_running_loop()

        def say(line: dict[str, object] | None) -> None:
            with suppress(RuntimeError):  # the port is closed
                here.call_soon_threadsafe(lines.put_nowait, line)

        started = asyncio.run_coroutine_threadsafe(self._start(producer, question, say), loop)
        task = await asyncio.wrap_future(started)
        return StreamingResponse(
            _told(lines, lambda: loop.call_soon_threadsafe(task.cancel)), media_type=NDJSON
        )

    def _is_known(self, request: Request) -> bool:
        if self._token is None:
            return True
        expected = f"Bearer {self._token.get_secret_value()}"
        found = request.headers.get("Authorization", "")
        return hmac.compare_digest(found.encode("latin-1"), expected.encode())

    # --- in the producer's event loop

    async def _start(
        self,
        producer: Producer,
        question: _Question,
        say: Callable[[dict[str, object] | None], object],
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(_answer(producer, question, say))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        return task


async def _answer(
    producer: Producer, question: _Question, say: Callable[[dict[str, object] | None], object]
) -> None:
    def progress(now: ProduceProgress) -> None:
        say({"kind": "progress", **asdict(now)})

    try:
        summary = await producer.take_round(
            question.source,
            progress,
            wait_until_landed=question.until_landed,
            decision=question.decision,
            span=backfill_span(producer.config, question.source, question.dates),
        )
        for line in _summed_up(summary):
            say(line)
    except HeadraceError as error:
        say(_error(error))
    except asyncio.CancelledError:
        say(_error(_stopped()))
        raise
    except Exception as error:
        log.exception("answer_failed")
        say(_error(HeadraceError(f"the producer failed: {error!r}", remedy="its log says more")))
    finally:
        say(None)


def _summed_up(summary: ProduceSummary) -> list[dict[str, object]]:
    notices: list[dict[str, object]] = [
        {"kind": "notice", "text": text} for text in summary.notices()
    ]
    return [*notices, {"kind": "done", **summary.figures()}]


async def _told(
    lines: asyncio.Queue[dict[str, object] | None], hang_up: Callable[[], object]
) -> AsyncIterator[bytes]:
    """The lines until there are no more; the last one again where nothing moves."""
    last: dict[str, object] = {"kind": "progress", **asdict(ProduceProgress())}
    try:
        while True:
            try:
                line = await asyncio.wait_for(lines.get(), HEARTBEAT_SECONDS)
            except TimeoutError:
                line = last
            if line is None:
                return
            if line["kind"] == "progress":
                last = line
            yield orjson.dumps(line) + b"\n"
    finally:
        with suppress(RuntimeError):  # the producer's loop has ended
            hang_up()


def _unknown() -> HeadraceError:
    return HeadraceError(
        "the producer answers only who knows its token, and none or another one came",
        remedy="give this process the value that [produce] token has where the producer runs",
    )


def _stopped() -> ProducerStoppedError:
    return ProducerStoppedError(
        "the producer is stopping or starting",
        remedy="try again in a moment; `headrace status` says what runs",
    )


def _error(error: HeadraceError) -> dict[str, object]:
    return {
        "kind": "error",
        "type": type(error).__name__,
        "message": error.message,
        "remedy": error.remedy,
        "exit_code": error.exit_code,
    }
