"""An embedded broker in a process of its own: started, killed, started again on the same port."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from headrace.infra.broker.service import run_broker
from headrace.infra.broker.settings import BrokerSettings
from parts.kafka import kafka_node

DEADLINE_SECONDS = 60

_SERVE = """
import sys
sys.modules["hypothesis"] = None  # kio imports it where it is there: half a broker's start
from pathlib import Path
from headrace.errors import HeadraceError
from headrace.infra.broker.service import run_broker
from headrace.infra.broker.settings import BrokerSettings

settings = BrokerSettings(segment_bytes=int(sys.argv[3]), fsync=sys.argv[4])
try:
    run_broker(
        Path(sys.argv[1]),
        port=int(sys.argv[2]),
        settings=settings,
        on_ready=lambda server: print("ready", server.port, flush=True),
    )
except HeadraceError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def serve_command(
    folder: Path, *, port: int = 0, segment_bytes: int = 100_000, fsync: str = "os"
) -> list[str]:
    """What runs a broker over `folder`; it prints `ready PORT` once it serves."""
    settings = (str(port), str(segment_bytes), fsync)
    return [sys.executable, "-P", "-c", _SERVE, str(folder), *settings]


class BrokerProcess:
    """A broker in a process of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path, *, segment_bytes: int = 100_000) -> None:
        self.folder = folder
        self.port = 0
        self._segment_bytes = segment_bytes
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, fsync: str = "os", max_file_bytes: int | None = None) -> None:
        """Start it and wait until it serves; no file of it may grow over `max_file_bytes`."""

        def limit() -> None:
            if max_file_bytes is not None:
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, hard))

        self._process = await asyncio.create_subprocess_exec(
            *serve_command(
                self.folder,
                port=self.port,
                segment_bytes=self._segment_bytes,
                fsync=fsync,
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=limit,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            async for line in self._process.stdout:
                if line.startswith(b"ready"):
                    self.port = int(line.split()[1])
                    return
        raise AssertionError(await self.ended())

    async def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended already."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def terminate(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal that it may answer; returns as `ended`."""
        assert self._process is not None
        self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        """Exit code and what it said on stderr."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            _, said = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, said.decode()


_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["headrace.infra.broker.service", __name__])


class ForkedBroker:
    """The same, forked from a process that has imported it: for many kills in little time."""

    def __init__(self, folder: Path, *, segment_bytes: int) -> None:
        self.folder = folder
        self.port = 0
        self._segment_bytes = segment_bytes
        self._process: Any = None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    async def start(self, *, fsync: Literal["os", "group"] = "os") -> None:
        """Start it and wait until it serves."""
        receiver, sender = _FORKING.Pipe(duplex=False)
        settings = BrokerSettings(segment_bytes=self._segment_bytes, fsync=fsync)
        arguments = (self.folder, self.port, settings, sender)
        self._process = _FORKING.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        sender.close()  # so that a broker that ends without a word is an EOFError here
        self.port = await asyncio.wait_for(asyncio.to_thread(receiver.recv), DEADLINE_SECONDS)

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)


def _serve(folder: Path, port: int, settings: BrokerSettings, ready: Connection) -> None:
    run_broker(
        folder, port=port, settings=settings, on_ready=lambda server: ready.send(server.port)
    )


class KilledKafka:
    """Apache Kafka, to be killed and started again as the same cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self._node = ExitStack()
        self._pid = 0

    async def start(self) -> None:
        """Start it and wait until it serves."""
        node = await asyncio.to_thread(self._node.enter_context, kafka_node(self.folder))
        self.address, self._pid = node.bootstrap_servers, node.pid

    async def kill(self) -> None:
        """SIGKILL; nothing happens when it has ended already."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._pid = 0
        await asyncio.to_thread(self._node.close)


class _Killable(Protocol):
    async def kill(self) -> None: ...


_Process = TypeVar("_Process", bound=_Killable)


@asynccontextmanager
async def serving(process: _Process) -> AsyncIterator[_Process]:
    """Nothing is left running, whatever happens in the block."""
    try:
        yield process
    finally:
        await process.kill()
