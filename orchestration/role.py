"""What the orchestrate role serves over HTTP: its health, its metrics, and an ear for its runs."""

from __future__ import annotations

import time
from typing import Final

import structlog
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from headrace import metrics
from headrace.config import Config
from headrace.errors import HeadraceError
from headrace.orchestration.observations import PATH, Observations, record
from headrace.orchestration.service import Orchestrator
from headrace.orchestration.table_gauges import TableGauges
from headrace.role_http import Health

log = structlog.get_logger("orchestrate")

_GAUGES_SECONDS: Final = 10.0
_MAX_BODY_BYTES: Final = 1_000_000


class OrchestrateRole:
    """Answers for an orchestrator, also before there is one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._orchestrator: Orchestrator | None = None
        self._gauges: TableGauges | None = None
        self._looked_at = float("-inf")

    @property
    def routes(self) -> list[BaseRoute]:
        """`POST /observations`: what runs have measured."""
        return [Route(PATH, self._observe, methods=["POST"])]

    def serves(self, orchestrator: Orchestrator) -> None:
        """From now on this one is answered for."""
        self._orchestrator = orchestrator

    def health(self) -> Health:
        """Whether Dagster's processes run."""
        if self._orchestrator is None:
            return Health(False, "starting")
        return self._orchestrator.health()

    def before_metrics(self) -> None:
        """Set the gauges that are read when they are asked for, at most every ten seconds."""
        if time.monotonic() - self._looked_at < _GAUGES_SECONDS:
            return
        self._looked_at = time.monotonic()
        if self._orchestrator is not None:
            for status, runs in self._orchestrator.history.counts().items():
                metrics.ORCHESTRATOR_RUNS.labels(status).set(runs)
        try:
            if self._gauges is None:
                self._gauges = TableGauges(self._config)
            self._gauges.set()
        except HeadraceError as error:
            log.warning("tables_not_measured", error=error.message)

    async def _observe(self, request: Request) -> Response:
        body = await request.body()
        try:
            if len(body) > _MAX_BODY_BYTES:
                return JSONResponse({"error": "too long"}, status_code=413)
            record(Observations.model_validate_json(body))
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return Response(status_code=204)
