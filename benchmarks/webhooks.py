"""Calls a second that a webhook acknowledges, and how long they wait, beside one without fsync.

    make bench-webhooks                # or: ... webhooks.py --seconds 10 --callers 64

The server is the role's own HTTP port, door and journal, in a process of its own; the callers send
GitHub's example payloads, signed, each over a connection that is kept. Three rounds: as it is, with
the fsync left out, and with a disk whose fsync takes 10 ms, as a plain one's does. Last, the whole
way: so many calls to `headrace produce` with a broker and a consumer, until bronze has them all.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from deltalake import DeltaTable

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from headrace.infra.broker.server import BrokerServer  # noqa: E402
from support.cli_project import CliProject  # noqa: E402
from support.hook_caller import HookCaller  # noqa: E402
from support.produce_project import ProduceProject, lasting_port  # noqa: E402

SECRET = "known to two"
CONFIG = f"""
[project]
name = "shop"
[sources.hooks]
kind = "webhook"
signature = {{ kind = "github", secret = "{SECRET}" }}
stream = "sales"
"""
SLOW_SECONDS = 0.010
PATIENCE_SECONDS = 300.0

SERVE = """
import os, sys, time
from headrace.config_webhook import WebhookSource
from headrace.producers.webhook.door import Door
from headrace.producers.webhook.journal import Journal
from headrace.role_http import Health, RoleHttp
from pathlib import Path
folder, how, secret = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def slow(descriptor):
    time.sleep(float(how))
    os.fdatasync(descriptor)
sync = {"fsync": os.fdatasync, "none": lambda descriptor: None}.get(how, slow)
journal = Journal(folder, sync=sync)
signature = {"kind": "github", "secret": secret}
source = WebhookSource(kind="webhook", stream="sales", signature=signature, max_waiting="1TB")
door = Door({"hooks": source})
http = RoleHttp("produce", health=lambda: Health(ok=True), routes=door.routes())
with door.opened({"hooks": journal}):
    print(http.start(), flush=True)
    sys.stdin.read()
http.stop()
journal.close()
"""


def payloads() -> list[tuple[bytes, dict[str, str]]]:
    """GitHub's examples, with the headers that GitHub sends but for the delivery's id."""
    root = Path(os.environ.get("HEADRACE_DATA") or REPOSITORY.parent / "shared" / "data")
    files = sorted((root / "github-webhooks" / "payload-examples").rglob("*.json"))
    found = []
    for path in files:
        body = path.read_bytes()
        mac = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/bench",
            "X-GitHub-Event": path.parent.name,
            "X-Hub-Signature-256": f"sha256={mac}",
        }
        found.append((body, headers))
    return found


async def load(port: int, callers: int, *, seconds: float = 1e9, calls: int = 10**9) -> list[float]:
    """How long each acknowledged call took, in seconds."""
    examples = payloads()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    sent = 0

    async def caller() -> None:
        nonlocal sent
        async with HookCaller(port) as connection:
            while time.perf_counter() < end and sent < calls:
                body, headers = examples[sent % len(examples)]
                sent += 1
                began = time.perf_counter()
                answer = await connection.call(body, {**headers, "X-GitHub-Delivery": str(uuid4())})
                if answer.status == 202:
                    taken.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return taken


def round_of(how: str, callers: int, seconds: float) -> tuple[float, float, float]:
    """Calls a second, the median and the 99th percentile of their times in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as folder:
        server = subprocess.Popen(
            [sys.executable, "-P", "-c", SERVE, folder, how, SECRET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            asyncio.run(load(port, callers, seconds=1.0))  # warm
            taken = asyncio.run(load(port, callers, seconds=seconds))
        finally:
            server.kill()
            server.wait()
    cuts = statistics.quantiles(taken, n=100)
    return len(taken) / seconds, cuts[49] * 1e3, cuts[98] * 1e3


async def whole_way(calls: int, callers: int) -> tuple[float, float]:
    """Calls acknowledged a second, and calls a second from the first one until bronze has all."""
    with tempfile.TemporaryDirectory(prefix="bench-webhooks-") as folder:
        project = ProduceProject(Path(folder) / "shop", config=CONFIG)
        port = lasting_port()
        async with BrokerServer(Path(folder) / "broker") as broker:
            at = ["--bootstrap-servers", broker.bootstrap_servers]
            cli = CliProject(project.root)
            roles = [
                cli.start("produce", *at, "--http-port", str(port)),
                cli.start("consume", *at),
            ]
            try:
                await until_open(port)
                began = time.perf_counter()
                taken = await load(port, callers, calls=calls)
                acknowledged = time.perf_counter() - began
                while in_bronze(project) < len(taken):
                    if time.perf_counter() - began > PATIENCE_SECONDS:
                        raise SystemExit(f"{in_bronze(project)} of {len(taken)} are in bronze")
                    await asyncio.sleep(0.2)
                landed = time.perf_counter() - began
            finally:
                for role in roles:
                    role.kill()
                    role.wait()
    return len(taken) / acknowledged, len(taken) / landed


async def until_open(port: int) -> None:
    """Until calls are let in."""
    async with HookCaller(port) as caller:
        deadline = time.perf_counter() + 60
        while time.perf_counter() < deadline:
            try:
                if (await caller.call(b"", {})).status != 503:
                    return
            except (OSError, EOFError):
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("the door does not open")


def in_bronze(project: ProduceProject) -> int:
    """Rows, by what the table's log says."""
    folder = project.root / "lake" / "bronze" / "sales"
    if not (folder / "_delta_log").is_dir():
        return 0
    return int(DeltaTable(str(folder)).count())


def main() -> None:
    """Say the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--calls", type=int, default=2_000, help="of the whole way; 0: leave it")
    chosen = parser.parse_args()
    rates = {}
    for how, what in (
        ("none", "without fsync"),
        ("fsync", "as it is"),
        (str(SLOW_SECONDS), f"fsync {SLOW_SECONDS * 1e3:.0f} ms longer"),
    ):
        rate, median, slow = round_of(how, chosen.callers, chosen.seconds)
        rates[how] = rate
        share = f" ({rate / rates['none']:.2f} of that without)" if how != "none" else ""
        print(
            f"{what:20} {rate:7,.0f} calls/s, median {median:5.1f} ms, p99 {slow:5.1f} ms{share}",
            flush=True,
        )
    if chosen.calls:
        acknowledged, landed = asyncio.run(whole_way(chosen.calls, chosen.callers))
        print(
            f"whole way: {acknowledged:,.0f} calls/s acknowledged, {landed:,.0f} calls/s to bronze"
        )


if __name__ == "__main__":
    main()
