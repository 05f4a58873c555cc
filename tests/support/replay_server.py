"""A local HTTP server that answers as real ones did, watches its clients, and errs when told to.

It serves recorded exchanges and handlers on a free port of 127.0.0.1. What a client does that it
must not do is in `complaints`.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import parse_qsl

import uvicorn
from starlette.types import Receive, Scope, Send

from support.replay_answer import Answer, Fault, Handler, Seen, json_answer
from support.replay_recordings import Pairs, Recorded

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_CREDENTIALS = ("authorization", "cookie", "x-api-key", "proxy-authorization")


class ReplayServer:
    """One server; `reset` makes it as new for the next test.

    `hosts`: which recorded hosts are served where, so that what leads to them leads there.
    `ignored`: query variables that no recording has. `clock`: seconds, of the client's own clock
    where that is not the real one. `expect_auth`: says what is wrong with a request's credentials,
    None where nothing is.
    """

    def __init__(self) -> None:
        self.port = 0
        self.reset()

    def reset(self) -> None:
        """Forget recordings, faults and what was seen."""
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.handlers: dict[str, Handler] = {}
        self.hosts: dict[str, str] = {}
        self.ignored: set[str] = set()
        self.clock: Callable[[], float] = time.monotonic
        self.expect_auth: Callable[[Seen], str | None] | None = None
        self.is_stranger = False
        self.secrets: tuple[str, ...] = ()
        self._recorded: dict[tuple[str, str, Pairs], Recorded] = {}
        self._may_be_asked: set[str] | None = None
        self._not_before: float | None = None

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def serve(self, recorded: Iterable[Recorded], hosts: Mapping[str, str] | None = None) -> None:
        """Answer as was recorded. `hosts`: recorded ones that are served by another server."""
        for exchange in recorded:
            self._recorded[exchange.key] = exchange
            self.hosts.setdefault(exchange.host, self.url)
        self.hosts.update(hosts or {})

    def begin_pages_at(self, *targets: str) -> None:
        """From now on only these may be asked for, and what the `Link` of an answer calls next."""
        self._may_be_asked = {*(self._may_be_asked or ()), *targets}

    def err(self, *faults: Fault) -> None:
        """The next answers go wrong in these ways, one each; those after them are right again."""
        self.faults.extend(faults)

    # --- An answer.

    def answer(self, seen: Seen) -> Answer:
        """What a request gets; it is remembered, and looked at."""
        self.seen.append(seen)
        self._watch(seen)
        answer = self._right_answer(seen)
        fault = self.faults.popleft() if self.faults else self.always
        if fault is not None:
            answer = fault(seen, answer)
        if answer.not_before is not None:
            self._not_before = seen.at + answer.not_before
        return answer

    def _watch(self, seen: Seen) -> None:
        if self._not_before is not None and seen.at < self._not_before:
            early = self._not_before - seen.at
            self.complaints.append(f"{seen.target} came {early:.3f} s too early after a 429")
        self._not_before = None
        if self._may_be_asked is not None and seen.target not in self._may_be_asked:
            self.complaints.append(f"{seen.target} was asked for, and nothing led there")
        if not (seen.header("user-agent") or "").split(" ")[-1].startswith("headrace/"):
            self.complaints.append(f"{seen.target} came without our name: {seen.headers}")
        if self.is_stranger:
            for name in _CREDENTIALS:
                if seen.header(name) is not None:
                    self.complaints.append(f"{seen.target} came with {name}")
        for secret in self.secrets if self.is_stranger else ():
            if seen.has(secret):
                self.complaints.append(f"{seen.target} came with a secret")

    def _right_answer(self, seen: Seen) -> Answer:
        problem = self.expect_auth(seen) if self.expect_auth is not None else None
        if problem is not None:
            return json_answer(b'{"message":"%s"}' % problem.encode(), 401)
        if seen.path in self.handlers:
            return self.handlers[seen.path](seen)
        query = tuple(sorted(pair for pair in seen.query if pair[0] not in self.ignored))
        recorded = self._recorded.get((seen.method, seen.path, query))
        if recorded is None:
            return json_answer(b'{"message":"Not Found"}', 404)
        return self._as_recorded(recorded, seen)

    def _as_recorded(self, recorded: Recorded, seen: Seen) -> Answer:
        headers = tuple(
            (name, self._here(value) if name.lower() in ("link", "location") else value)
            for name, value in recorded.headers
        )
        answer = Answer(recorded.status, headers, recorded.body)
        etag = next((value for name, value in headers if name.lower() == "etag"), None)
        if recorded.status == 200 and etag is not None and seen.header("if-none-match") == etag:
            return replace(answer, status=304, body=b"")
        for name, value in headers:
            if name.lower() == "link" and self._may_be_asked is not None:
                targets = (target.removeprefix(self.url) for target in _NEXT.findall(value))
                self._may_be_asked.update(targets)
        if any(pair[0].lower() == "content-encoding" and pair[1] == "gzip" for pair in headers):
            answer = replace(answer, body=gzip.compress(answer.body))
        return answer

    def _here(self, text: str) -> str:
        for host, place in self.hosts.items():
            text = text.replace(host, place)
        return text

    # --- HTTP.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        assert scope["type"] == "http"
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        seen = Seen(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=tuple(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
            headers=tuple((n.decode().lower(), v.decode("latin-1")) for n, v in scope["headers"]),
            body=bytes(body),
            at=self.clock(),
        )
        await _send(self.answer(seen), seen, send)


async def _send(answer: Answer, seen: Seen, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    has_body = answer.status not in (204, 205, 304)
    if answer.pieces is None and has_body:
        length = len(answer.body) if answer.says_length is None else answer.says_length
        headers.append((b"Content-Length", str(length).encode()))
    if answer.status == 205:
        headers.append((b"Content-Length", b"0"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.pieces is not None:
        async for piece in answer.pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    is_cut = answer.says_length is not None and answer.says_length > len(answer.body)
    body = answer.body if has_body else b""
    # Where more is to come and none does, uvicorn closes the connection.
    await send({"type": "http.response.body", "body": body, "more_body": is_cut})


@contextmanager
def replay_server() -> Iterator[ReplayServer]:
    """A server in a thread of its own, for as long as the block lasts."""
    application = ReplayServer()
    listener = socket.create_server(("127.0.0.1", 0))
    application.port = int(listener.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            application,
            http="h11",
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=0,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), name="replay", daemon=True)
    thread.start()
    try:
        assert server.serving.wait(_START_SECONDS), "the replay server did not start"
        yield application
    finally:
        server.end()
        thread.join(_STOP_SECONDS)
        listener.close()
    assert not thread.is_alive(), "the replay server did not end"


class _Server(uvicorn.Server):
    """uvicorn, told when to end instead of looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        await self.on_tick(0)
        self._loop = asyncio.get_running_loop()
        self.serving.set()
        await self._ending.wait()

    def end(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
