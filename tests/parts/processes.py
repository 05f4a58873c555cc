"""Servers as child processes: a free port, a deadline for the first answer, a sure end."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll `condition` until it holds; raises TimeoutError that names `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def wait_for(ask: Callable[[], object], expected: object, *, seconds: float, what: str) -> None:
    """Poll until the answer is the expected one; raises AssertionError that says the last one."""
    last = ask()
    deadline = time.monotonic() + seconds
    while last != expected:
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: {last}, not {expected}, after {seconds:g} s")
        time.sleep(_POLL_SECONDS)
        last = ask()


def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask this process to end, and kill it if it does not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextmanager
def server_process(
    command: Sequence[str | Path],
    *,
    log: Path,
    answers: Callable[[], bool],
    seconds: float = 60,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends, however it ends; the block begins when it answers.

    Raises RuntimeError with the end of its log if it exits or does not answer within `seconds`.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
    try:
        try:
            wait_until(
                lambda: process.poll() is not None or answers(),
                seconds=seconds,
                what=f"an answer of {Path(command[0]).name}",
            )
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{_tail(log)}") from error
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} exited with {process.returncode}\n{_tail(log)}")
        yield process
    finally:
        stop(process)


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
