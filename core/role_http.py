"""A role's HTTP port: `/metrics` for Prometheus, `/healthz` for whoever asks if it is well."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from headrace.errors import HeadraceError, UsageError
from headrace.http_patience import CONNECTIONS, PatientProtocol
from headrace.metrics import tell_build

log = structlog.get_logger("http")

_START_SECONDS: Final = 10.0
_REQUESTS_END_SECONDS: Final = 2
_STOP_SECONDS: Final = 3.0
# Prometheus itself waits for 10 unless told otherwise.
_SCRAPE_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a role does its work; `reason` says why not, or what it is waiting for."""

    ok: bool
    reason: str | None = None


class RoleHttp:
    """Serves in a thread of its own, so that a busy role still answers.

    `health` is called from threads of the server for each request, as are `before_metrics` (which
    sets gauges whose figures are read when asked for; one call at a time) and the handlers of
    `routes`. Where one of them raises, the answer is a 500 and the log has the traceback; a
    `HeadraceError` of `before_metrics` is logged, and the other metrics are served as they are.
    """

    def __init__(
        self,
        role: str,
        *,
        health: Callable[[], Health],
        routes: Sequence[BaseRoute] = (),
        before_metrics: Callable[[], None] = lambda: None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._role = role
        self._health = health
        self._before_metrics = before_metrics
        self._scraping = threading.Lock()
        self._host = host
        self._wanted_port = port
        self._application = Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/healthz", self._healthz),
                *routes,
            ]
        )
        self._server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=PatientProtocol,
                limit_concurrency=CONNECTIONS,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                date_header=False,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_REQUESTS_END_SECONDS,
            )
        )
        self._thread: threading.Thread | None = None
        self._serving = threading.Event()
        self._failure: BaseException | None = None
        self.port = 0

    def start(self) -> int:
        """Serve from now on; returns the port.

        Raises `UsageError` where the port cannot be had, `HeadraceError` where serving fails.
        """
        try:
            # IPv6 addresses have colons, and host names none.
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self._wanted_port), family=family)
        except OSError as error:
            raise UsageError(
                f"{self._role}: port {self._wanted_port} on {self._host} cannot be used:"
                f" {error.strerror}",
                remedy="end what listens there, or choose another with --http-port (0: a free one)",
            ) from error
        self.port = int(listener.getsockname()[1])
        tell_build(self._role)
        self._server.on_started = self._serving.set
        self._thread = threading.Thread(
            target=self._serve, args=(listener,), name="http", daemon=True
        )
        self._thread.start()
        self._serving.wait(_START_SECONDS)
        if not self._server.started:
            listener.close()
            raise HeadraceError(
                f"{self._role}: the HTTP port could not be served: {self._failure or 'no answer'}",
                remedy="its log says more",
            ) from self._failure
        return self.port

    def stop(self) -> None:
        """Serve no more; requests under way get two seconds to end."""
        self._server.stop()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _serve(self, listener: socket.socket) -> None:
        try:
            self._server.run([listener])
        except (Exception, SystemExit) as error:
            self._failure = error
            log.exception("http_died", role=self._role)
        finally:
            self._serving.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            log.warning("request_cut_short", role=self._role, path=scope.get("path"))
        except Exception:  # a request's outermost: it has had its 500, and uvicorn would hang up
            log.exception("request_failed", role=self._role, path=scope.get("path"))

    def _metrics(self, _request: Request) -> Response:
        # Gauges of what is gone are removed and others set: nobody is to see that halfway. Where a
        # look takes for ever (a lake that hangs), waiting scrapes must not keep /healthz waiting.
        if not self._scraping.acquire(timeout=_SCRAPE_WAIT_SECONDS):
            return PlainTextResponse("another scrape is still under way\n", status_code=503)
        try:
            try:
                self._before_metrics()
            except HeadraceError as error:
                log.warning("metrics_not_current", role=self._role, error=error.message)
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
        finally:
            self._scraping.release()

    def _healthz(self, _request: Request) -> Response:
        health = self._health()
        body = {"role": self._role, "ok": health.ok, "reason": health.reason}
        return JSONResponse(body, status_code=200 if health.ok else 503)


class _Server(uvicorn.Server):
    """uvicorn, which looks at a flag ten times a second, told when to end instead."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_started: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait for `stop`."""
        await self.on_tick(0)  # sets the headers that every answer has
        self._loop = asyncio.get_running_loop()
        self.on_started()
        if not self.should_exit:
            await self._stopping.wait()

    def stop(self) -> None:
        """End soon; from any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)
