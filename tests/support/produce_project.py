"""A project with a watched folder, and what stands on its topic, read by a plain Kafka client."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from headrace.config import Config
from headrace.config_file import load_config

CONFIG = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
settle = 0
"""

# `produce_once` as its own process, so that it can be killed. It tells the ledger at once what was
# acknowledged, so that small files are enough to kill it in the middle of one.
PRODUCE = """
import asyncio, sys
from pathlib import Path
from headrace.config_file import load_config
from headrace.producers.publishing import pipeline
from headrace.producers.service import produce_once
pipeline._LEDGER_FLUSH_SECONDS = 0.01
asyncio.run(produce_once(load_config(Path(sys.argv[1])), bootstrap_servers=sys.argv[2]))
"""


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """One record of a topic."""

    partition: int
    offset: int
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def event_id(self) -> str:
        """Its `ce_id`."""
        return self.headers["ce_id"].decode()


class ProduceProject:
    """A project in a folder of its own."""

    def __init__(self, root: Path, *, config: str = CONFIG, stream: str = "") -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.inbox.mkdir(parents=True)
        (root / "streams").mkdir()
        self.write(config, stream)

    def write(self, config: str = CONFIG, stream: str = "") -> None:
        """Write the config files."""
        (self.root / "headrace.toml").write_text(config)
        (self.root / "streams" / "sales.toml").write_text(stream)

    @property
    def config(self) -> Config:
        """The config as it is now."""
        return load_config(self.root)

    def drop(self, name: str, *rows: str) -> None:
        """A CSV file with one column, `item`, moved into place."""
        temporary = self.inbox / (name + ".tmp")
        temporary.write_text("item\n" + "".join(f"{row}\n" for row in rows))
        temporary.rename(self.inbox / name)

    def drop_rows(self, name: str, count: int) -> None:
        """A CSV file with so many different rows."""
        self.drop(name, *(f"{name} {number}" for number in range(count)))

    def command(self, bootstrap_servers: str) -> list[str]:
        """The producer as a process."""
        return [sys.executable, "-P", "-c", PRODUCE, str(self.root), bootstrap_servers]


def lasting_port() -> int:
    """A free port that a restarted server gets again.

    Below the ephemeral ones: there, a client that tries again and again to connect to a server that
    is down will at some point be given that very port, and connect to itself.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


async def read_topic(bootstrap_servers: str, topic: str = "shop.sales") -> list[TopicRecord]:
    """Everything on a topic, by topic partition and offset."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        places = sorted(consumer.assignment())
        ends = await consumer.end_offsets(places)
        records: list[TopicRecord] = []
        for place in places:
            while await consumer.position(place) < ends[place]:
                fetched = await consumer.getmany(place, timeout_ms=1_000)
                records += [
                    TopicRecord(r.partition, r.offset, r.value, dict(r.headers))
                    for r in fetched.get(place, [])
                ]
        return records
    finally:
        await consumer.stop()
