"""An embedded broker in a process of its own: started, killed, started again on the same port."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

DEADLINE_SECONDS = 60

_SERVE = """
import sys
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

    def __init__(self, folder: Path, *, segment_bytes: int = 100_000, fsync: str = "os") -> None:
        self.folder = folder
        self.port = 0
        self._segment_bytes = segment_bytes
        self._fsync = fsync
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

    async def start(self, *, max_file_bytes: int | None = None) -> None:
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
                fsync=self._fsync,
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


@asynccontextmanager
async def serving(process: BrokerProcess) -> AsyncIterator[BrokerProcess]:
    """Nothing is left running, whatever happens in the block."""
    try:
        yield process
    finally:
        await process.kill()
