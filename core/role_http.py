"""A role's HTTP port: `/metrics` for Prometheus, `/healthz` for whoever asks if it is well."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from headrace.errors import UsageError
from headrace.metrics import tell_build

_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a role does its work; `reason` says why not, or what it is waiting for."""

    ok: bool
    reason: str | None = None


class RoleHttp:
    """Serves in a thread of its own, so that a busy role still answers.

    `health` is called from that thread for each request, as are `before_metrics` (which sets
    gauges whose figures are read when asked for) and the handlers of `routes`.
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
        self._host = host
        self._wanted_port = port
        application = Starlette(
            routes=[
                Route("/metrics", self._metrics),
                Route("/healthz", self._healthz),
                *routes,
            ]
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                application, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=5
            )
        )
        self._thread: threading.Thread | None = None
        self.port = 0

    def start(self) -> int:
        """Serve from now on; returns the port. Raises `UsageError` where it is taken."""
        try:
            listener = socket.create_server((self._host, self._wanted_port))
        except OSError as error:
            raise UsageError(
                f"{self._role}: port {self._wanted_port} on {self._host} cannot be used:"
                f" {error.strerror}",
                remedy="end what listens there, or choose another port",
            ) from error
        self.port = int(listener.getsockname()[1])
        tell_build(self._role)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="http", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive():
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        return self.port

    def stop(self) -> None:
        """Serve no more; requests under way get a moment to end."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def _metrics(self, _request: Request) -> Response:
        self._before_metrics()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    def _healthz(self, _request: Request) -> Response:
        health = self._health()
        body = {"role": self._role, "ok": health.ok, "reason": health.reason}
        return JSONResponse(body, status_code=200 if health.ok else 503)
