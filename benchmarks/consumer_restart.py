"""After kill -9 of a consumer and a start: seconds to the next commit, beside a bare consumer.

    make bench-restart                 # or: ... consumer_restart.py --bootstrap-servers HOST:PORT

Records come in all the time. The consumer is killed and started again at once; what counts is the
wall clock from the kill to the first new commit. Ours commits rows to a Delta table, with the
settings a new project has; the bare one (aiokafka with the session timeout of Apache Kafka's own
client, 45 s) does nothing but commit offsets. Without an address the embedded broker is used.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from deltalake import DeltaTable

from headrace.infra.broker.server import BrokerServer

ROUNDS, BARE_ROUNDS = 5, 2
LIMIT_SECONDS = 5.0
PATIENCE_SECONDS = 120.0
TICK_SECONDS, PAUSE_SECONDS = 0.02, 0.01
BARE_SESSION_MS = 45_000
PARTITIONS = 4
HEADRACE = (sys.executable, "-P", "-m", "headrace.cli.main")
SETTINGS = '[project]\nname = "{name}"\n[broker]\nbootstrap_servers = "{servers}"\n'


async def seconds_until(condition: Callable[[], bool]) -> float:
    """Until it holds, asked again and again."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise SystemExit(f"nothing for {PATIENCE_SECONDS:.0f} s")
        await asyncio.sleep(TICK_SECONDS)
    return time.perf_counter() - began


async def restarts(
    start: Callable[[], subprocess.Popen[bytes]], commits: Callable[[], int], rounds: int
) -> list[float]:
    """Seconds from each kill to the next commit."""
    taken = []
    consumer = start()
    try:
        for _ in range(rounds):
            before = commits()
            await seconds_until(lambda: commits() > before + 1)  # noqa: B023 (used in this round)
            consumer.kill()
            consumer.wait()
            killed_at = commits()
            began = time.perf_counter()
            consumer = start()
            await seconds_until(lambda: commits() > killed_at)  # noqa: B023
            taken.append(time.perf_counter() - began)
    finally:
        consumer.kill()
        consumer.wait()
    return taken


@asynccontextmanager
async def records_coming_in(servers: str, topic: str) -> AsyncIterator[None]:
    """A hundred small records a second, until the block ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()

    async def publish() -> None:
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            while True:
                await producer.send_and_wait(topic, b'{"a":1}')
                await asyncio.sleep(PAUSE_SECONDS)

    publishing = asyncio.create_task(publish())
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)


async def headrace_restarts(folder: Path, servers: str) -> list[float]:
    """Ours, as a new project has it."""
    name = f"p{uuid4().hex[:12]}"
    (folder / "streams").mkdir(parents=True)
    (folder / "headrace.toml").write_text(SETTINGS.format(name=name, servers=servers))
    (folder / "streams" / "sales.toml").touch()
    table = folder / "lake" / "bronze" / "sales"

    def start() -> subprocess.Popen[bytes]:
        with (folder / "consume.log").open("ab") as log:
            return subprocess.Popen(
                [*HEADRACE, "consume", "--project", str(folder)], stdout=log, stderr=log
            )

    def commits() -> int:
        return DeltaTable(str(table)).version() if (table / "_delta_log").is_dir() else 0

    async with records_coming_in(servers, f"{name}.sales"):
        return await restarts(start, commits, ROUNDS)


async def bare_restarts(folder: Path, servers: str) -> list[float]:
    """A consumer that does no more than commit its offsets."""
    topic, said = f"bare-{uuid4().hex[:12]}", folder / "bare.txt"

    def start() -> subprocess.Popen[bytes]:
        with said.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-P", __file__, "--bare", topic, "--bootstrap-servers", servers],
                stdout=out,
                stderr=subprocess.DEVNULL,  # aiokafka tells of each attempt to join
            )

    async with records_coming_in(servers, topic):
        return await restarts(start, lambda: said.stat().st_size, BARE_ROUNDS)


async def bare_consumer(servers: str, topic: str) -> None:
    """Commit the offsets of what comes, for ever, and write a byte after each."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=topic,
        enable_auto_commit=False,
        session_timeout_ms=BARE_SESSION_MS,
        max_poll_interval_ms=300_000,
    )
    await consumer.start()
    while True:
        if await consumer.getmany(timeout_ms=1_000):
            await consumer.commit()
            sys.stdout.write(".")
            sys.stdout.flush()


async def compare(servers: str | None) -> bool:
    """Both on one broker, one after the other; whether ours keeps the promise."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if servers is None:
            broker = await stack.enter_async_context(BrokerServer(folder / "broker"))
            servers = broker.bootstrap_servers
        ours = await headrace_restarts(folder / "shop", servers)
        print_line("headrace", ours)
        bare = await bare_restarts(folder, servers)
        print_line("bare group consumer", bare)
    ratio = statistics.median(bare) / statistics.median(ours)
    print(f"headrace is {ratio:.1f}x sooner; limit {LIMIT_SECONDS:.0f} s")
    return max(ours) < LIMIT_SECONDS


def print_line(what: str, seconds: list[float]) -> None:
    """Median and worst of some restarts."""
    print(
        f"{what:<20} {statistics.median(seconds):5.1f} s median, {max(seconds):5.1f} s worst"
        f" of {len(seconds)}"
    )


def main() -> None:
    """Measure, print, and exit 1 where the promise is not kept."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--bootstrap-servers", help="default: an embedded broker")
    options.add_argument("--bare", metavar="TOPIC", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.bare is not None:
        asyncio.run(bare_consumer(chosen.bootstrap_servers, chosen.bare))
        return
    sys.exit(0 if asyncio.run(compare(chosen.bootstrap_servers)) else 1)


if __name__ == "__main__":
    main()
