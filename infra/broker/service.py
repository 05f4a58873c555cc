"""The broker as a role of its own: one process, from start to signal."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.infra.broker.server import BrokerServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from headrace.infra.broker.settings import BrokerSettings


async def serve_broker(
    data_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    settings: BrokerSettings | None = None,
    on_ready: Callable[[BrokerServer], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set; `on_ready` gets the broker once clients can connect.

    Raises BrokerError when the broker can't start or can't go on.
    """
    stop = stop or asyncio.Event()
    async with BrokerServer(data_dir, host=host, port=port, settings=settings) as server:
        if on_ready is not None:
            on_ready(server)
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(server.wait_failed())
        try:
            await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                failing.result()
        finally:
            for task in (stopping, failing):
                task.cancel()
            await asyncio.gather(stopping, failing, return_exceptions=True)


def run_broker(
    data_dir: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    settings: BrokerSettings | None = None,
    on_ready: Callable[[BrokerServer], None] | None = None,
) -> None:
    """Serve in this process until SIGTERM or SIGINT, on uvloop where there is one.

    Raises as `serve_broker`.
    """

    async def until_signal() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve_broker(
            data_dir, host=host, port=port, settings=settings, on_ready=on_ready, stop=stop
        )

    _run(until_signal())


def _run(main: Coroutine[None, None, None]) -> None:
    factory = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
