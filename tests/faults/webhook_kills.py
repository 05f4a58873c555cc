"""kill -9 of `headrace produce` amid calls; then every acknowledged call is in bronze once.

    PYTHONPATH=tests python -P -m faults.webhook_kills --kills 20

Half of the callers try a call again until it is acknowledged, under the same id, as senders do; the
others never ask twice. What was not acknowledged may be there, but not twice either. With
`--identity arrival`, where a second try is another call, nobody tries again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from headrace.infra.broker.server import BrokerServer
from headrace.producers.service import produce_once
from support.cli_project import CliProject
from support.hook_caller import HookCaller, signed_as_github
from support.produce_landing import consuming
from support.produce_project import ProduceProject, lasting_port

SECRET = "known to two"
CONFIG = f"""
[project]
name = "shop"
[consume]
batch_age = "200ms"
[sources.hooks]
kind = "webhook"
signature = {{ kind = "github", secret = "{SECRET}" }}
identity = "IDENTITY"
stream = "sales"
"""
CALLERS = 8
DEADLINE_SECONDS = 120.0
LANDING_SECONDS = 600.0
_ROUND_CALLS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was counted in bronze, by the ids that callers gave."""

    kills: int
    acknowledged: int
    unacknowledged: int
    lost: int
    doubled: int
    in_bronze: int

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.acknowledged} calls acknowledged: {self.lost} lost,"
            f" {self.doubled} doubled; {self.unacknowledged} calls were never acknowledged, and"
            f" {self.in_bronze - self.acknowledged + self.lost} of those are in bronze"
        )


class _Load:
    """Calls without end, and which of them were acknowledged."""

    def __init__(self, port: int, seed: str, *, tries_again: bool) -> None:
        self._port = port
        self._seed = seed
        self._tries_again = tries_again
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()

    async def caller(self, number: int) -> None:
        tries_again = self._tries_again and number % 2 == 0
        count = 0
        async with HookCaller(self._port) as caller:
            while True:
                count += 1
                call_id = f"{self._seed}-{number}-{count}"
                body = json.dumps({"id": call_id, "text": "x" * (count % 50 * 40)}).encode()
                self.sent.add(call_id)
                while True:
                    if await self._acknowledged(caller, call_id, body):
                        self.acknowledged.add(call_id)
                        break
                    await asyncio.sleep(0.02)
                    if not tries_again:
                        break

    @staticmethod
    async def _acknowledged(caller: HookCaller, call_id: str, body: bytes) -> bool:
        try:
            answer = await caller.call(body, signed_as_github(SECRET, body, call_id))
        except (OSError, EOFError):
            return False
        assert answer.status in (202, 429, 503), answer
        return answer.status == 202


@contextmanager
def _produce(project: ProduceProject, servers: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = CliProject(project.root).start(
        "produce", "--bootstrap-servers", servers, "--http-port", str(port)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def kill_under_load(root: Path, kills: int, seed: str, identity: str = "sender") -> Outcome:
    """Start, load and kill so often; then let all of it land, and count."""
    chance = random.Random(seed)
    project = ProduceProject(root / "shop", config=CONFIG.replace("IDENTITY", identity))
    port = lasting_port()
    load = _Load(port, seed, tries_again=identity != "arrival")
    async with BrokerServer(root / "broker") as broker:
        servers = broker.bootstrap_servers
        callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
        try:
            for _ in range(kills):
                before = len(load.acknowledged)
                with _produce(project, servers, port) as process:
                    await _until(lambda: len(load.acknowledged) > before + _ROUND_CALLS, process)  # noqa: B023
                    await asyncio.sleep(chance.random() ** 2)
        finally:
            for caller in callers:
                caller.cancel()
            done = await asyncio.gather(*callers, return_exceptions=True)
        failed = [end for end in done if not isinstance(end, asyncio.CancelledError)]
        assert not failed, failed
        async with consuming(project, servers):
            async with asyncio.timeout(LANDING_SECONDS):
                await produce_once(
                    project.config, bootstrap_servers=servers, wait_until_landed=True
                )
    found = Counter(_ids_in_bronze(project))
    return Outcome(
        kills=kills,
        acknowledged=len(load.acknowledged),
        unacknowledged=len(load.sent - load.acknowledged),
        lost=len(load.acknowledged - found.keys()),
        doubled=sum(count - 1 for count in found.values()),
        in_bronze=len(found),
    )


async def _until(holds: object, process: subprocess.Popen[bytes]) -> None:
    assert callable(holds)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert process.poll() is None, "the role ended by itself"
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def _ids_in_bronze(project: ProduceProject) -> list[str]:
    """Read without our own code."""
    table = DeltaTable(str(project.root / "lake" / "bronze" / "sales"))
    values = table.to_pyarrow_table(columns=["data"])["data"].to_pylist()
    return [json.loads(value)["id"] for value in values]


def main() -> int:
    """Say what was lost and doubled; exit code 1 where anything was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--identity", choices=("sender", "content", "arrival"), default="sender")
    parser.add_argument("--seed", default=str(int(time.time())))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="webhook-kills-") as folder:
        outcome = asyncio.run(
            kill_under_load(Path(folder), chosen.kills, chosen.seed, chosen.identity)
        )
    print(f"seed {chosen.seed}: {outcome}")
    return 1 if outcome.lost or outcome.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
