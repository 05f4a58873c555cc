"""Apache Kafka itself, one KRaft node, from the jars that `make parts` installs."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from parts.availability import PARTS, leave_out
from parts.processes import accepts_connections, free_port, server_process

LIBRARIES = PARTS / "kafka" / "libs"
# One small test node, or a tool: a second of start-up less without the optimising compiler.
_JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised_port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dirs}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=false
"""


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """A running node."""

    port: int
    pid: int
    folder: Path

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def kafka_node(
    folder: Path, *, port: int | None = None, advertised_port: int | None = None
) -> Iterator[KafkaNode]:
    """Run a node over `folder` until the block ends.

    A folder that held one before goes on as that cluster, on the same ports: so a node can be
    stopped and started again. `advertised_port` is where clients are sent, such as a proxy's;
    `port`: where it listens, for a proxy that has to know it beforehand.
    """
    run = _java()
    properties, port_file = folder / "server.properties", folder / "port"
    if not port_file.exists():
        _format(run, folder, properties, port_file, port or free_port(), advertised_port)
    port = int(port_file.read_text())
    with server_process(
        [*run, "kafka.Kafka", str(properties)],
        log=folder / "kafka.log",
        answers=lambda: accepts_connections(port) and _serves(f"127.0.0.1:{port}"),
        seconds=90,
    ) as process:
        yield KafkaNode(port=port, pid=process.pid, folder=folder)


def kafka_tool(tool: str, *arguments: str) -> list[str]:
    """The command that runs one of Kafka's Java tools, by its class (`org.apache.kafka.tools`'s
    by what follows that)."""
    name = tool if tool.startswith("kafka.") else f"org.apache.kafka.tools.{tool}"
    return [*_java(), name, *arguments]


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None or not LIBRARIES.is_dir():
        leave_out("Apache Kafka", "make parts")
    return [java, *_JVM, "-cp", f"{LIBRARIES}/*"]


def _format(
    run: list[str],
    folder: Path,
    properties: Path,
    port_file: Path,
    port: int,
    advertised_port: int | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    properties.write_text(
        _PROPERTIES.format(
            port=port,
            advertised_port=advertised_port or port,
            controller_port=free_port(),
            log_dirs=folder / "data",
        )
    )
    cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    subprocess.run(
        [
            *(*run, "kafka.tools.StorageTool", "format", "--standalone"),
            # With `=`: an id may begin with a dash.
            *(f"--cluster-id={cluster_id}", "--config", str(properties)),
        ],
        check=True,
        timeout=60,
    )
    port_file.write_text(str(port))


def _serves(bootstrap_servers: str) -> bool:
    """Whether the node answers a client; in a thread, as the caller's may run an event loop."""

    async def ask() -> bool:
        client = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, request_timeout_ms=2_000)
        try:
            await client.start()
            await client.topics()
        except KafkaError:
            return False
        finally:
            await client.stop()
        return True

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()
