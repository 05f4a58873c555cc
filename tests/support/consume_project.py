"""A project whose topics the test itself writes, and the consume role on it, here or as a process.

What has landed is counted from the table's own files, as `support.source_ids` does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError
from deltalake import DeltaTable, QueryBuilder

from headrace.config import Config
from headrace.config_file import load_config
from headrace.consumers.batch import Buffer
from headrace.consumers.chunk import Chunk
from headrace.consumers.service import CommitReport, consume
from headrace.event import record_headers
from headrace.lakehouse.bronze import TopicPosition, open_bronze, read_position
from headrace.lakehouse.delta import Lake
from support.cli_project import command, environment
from support.source_ids import Id, table_ids

PARTITIONS = 4
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_TICK_SECONDS = 0.02

_SETTINGS = """
[project]
name = "{name}"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
[consume]
batch_rows = {batch_rows}
batch_age = "{batch_age}"
session_timeout = "{session_timeout}"
[broker]
topic_partitions = 4
"""


def delivery(number: int) -> str:
    """A delivery id; ids sort by number, which is also their hash."""
    return f"20240101T{number:012}-{number:012x}"


def ids(numbers: Iterable[int], records: int) -> Counter[Id]:
    """What the deliveries of these numbers and so many records each must give."""
    return Counter({(f"{n:012x}", r): 1 for n in numbers for r in range(records)})


class ConsumeProject:
    """One project at `root`, its topic at `bootstrap_servers`."""

    def __init__(
        self,
        root: Path,
        bootstrap_servers: str,
        *,
        batch_rows: int = 500,
        batch_age: str = "100ms",
        session_timeout: str = "10s",
        name: str = "shop",
    ) -> None:
        root.mkdir(parents=True)
        (root / "headrace.toml").write_text(
            _SETTINGS.format(
                name=name,
                batch_rows=batch_rows,
                batch_age=batch_age,
                session_timeout=session_timeout,
            )
        )
        self.root = root
        self.bootstrap_servers = bootstrap_servers
        self.config: Config = load_config(root)
        self.topic = self.config.topic("sales")
        self.table = root / "lake" / "bronze" / "sales"

    def write_stream(self, text: str, name: str = "sales") -> None:
        """Give a stream a file of its own."""
        (self.root / "streams").mkdir(exist_ok=True)
        (self.root / "streams" / f"{name}.toml").write_text(text)
        self.config = load_config(self.root)

    # The topic

    async def publish(
        self, numbers: Iterable[int], records: int, *, first: int = 0, content: str = "a"
    ) -> None:
        """Publish deliveries, each to the topic partition its number gives."""
        async with self.producer() as producer:
            for number in numbers:
                await self.publish_one(producer, number, records, first=first, content=content)

    @asynccontextmanager
    async def producer(self, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
        """An idempotent producer, as headrace's is; the stream's topic is there."""
        await self.create_topic()
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap_servers,
            enable_idempotence=True,
            compression_type="zstd",
            **settings,
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def publish_one(
        self,
        producer: AIOKafkaProducer,
        number: int,
        records: int,
        *,
        first: int = 0,
        content: str = "a",
    ) -> None:
        """Publish one delivery's records from `first` on, in order."""
        shared = record_headers(source="tills")
        batch = producer.create_batch()
        sent = []
        for n in range(first, records):
            time = (_FIRST_DAY + timedelta(days=number % 7)).isoformat()
            headers = [
                *shared,
                ("ce_id", f"{delivery(number)}:{n}".encode()),
                ("ce_time", time.encode()),
            ]
            value = f'{{"content":"{content}","delivery":{number},"record":{n}}}'.encode()
            while batch.append(key=None, value=value, timestamp=None, headers=headers) is None:
                batch.close()
                sent.append(
                    await producer.send_batch(batch, self.topic, partition=number % PARTITIONS)
                )
                batch = producer.create_batch()
        batch.close()
        sent.append(await producer.send_batch(batch, self.topic, partition=number % PARTITIONS))
        await asyncio.gather(*sent)

    async def create_topic(
        self, name: str | None = None, configs: dict[str, str] | None = None
    ) -> None:
        """Make a topic (by default the stream's), unless it is there, or a role was faster."""
        async with self._admin() as admin:
            answer = await admin.create_topics(
                [NewTopic(name or self.topic, PARTITIONS, 1, topic_configs=configs)]
            )
            assert answer.topic_errors[0][1] in (0, TopicAlreadyExistsError.errno), answer

    async def delete_topic(self) -> None:
        """Delete the topic with all it holds."""
        async with self._admin() as admin:
            answer = await admin.delete_topics([self.topic])
            assert [code for _, code, *_ in answer.topic_error_codes] == [0], answer

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    # The role

    async def consume_all(
        self, on_commit: Callable[[CommitReport], None] | None = None, seconds: float = 60
    ) -> None:
        """Consume until idle, in this process."""
        async with asyncio.timeout(seconds):
            await consume(
                self.config,
                bootstrap_servers=self.bootstrap_servers,
                stop=asyncio.Event(),
                stop_when_idle=True,
                on_commit=on_commit,
            )

    @asynccontextmanager
    async def consuming(
        self, on_commit: Callable[[CommitReport], None] | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        """The role in this process for as long as the block lasts, then stopped cleanly."""
        stop = asyncio.Event()
        task = asyncio.create_task(
            consume(
                self.config,
                bootstrap_servers=self.bootstrap_servers,
                stop=stop,
                on_commit=on_commit,
            )
        )
        try:
            yield task
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await task

    async def start_role(self, *arguments: str) -> asyncio.subprocess.Process:
        """The role as a process of its own."""
        with (self.root / "consume.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command(
                    "consume",
                    "--project",
                    str(self.root),
                    "--bootstrap-servers",
                    self.bootstrap_servers,
                    *arguments,
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
            )

    # What has landed

    def landed(self) -> Counter[Id]:
        """Ids of our deliveries in bronze, counted from the table's files."""
        if not (self.table / "_delta_log").is_dir():
            return Counter()
        return table_ids(self.table, "event_id")

    def rows(
        self, columns: str, order: str = "topic_partition, topic_offset", table: str = "sales"
    ) -> list[Any]:
        """Rows of bronze."""
        sql = f"SELECT {columns} FROM t ORDER BY {order}"
        delta = DeltaTable(str(self.table.with_name(table)))
        reader = QueryBuilder().register("t", delta).execute(sql)
        return pa.RecordBatchReader.from_stream(reader).read_all().to_pylist()

    def version(self) -> int:
        """Bronze's version; -1 before there is one."""
        if not (self.table / "_delta_log").is_dir():
            return -1
        return DeltaTable(str(self.table)).version()

    def positions(self) -> dict[int, TopicPosition | None]:
        """The table's position in each topic partition."""
        table = open_bronze(Lake(self.config.lake_uri), "sales")
        assert table is not None
        return {p: read_position(table, self.topic, p) for p in range(PARTITIONS)}


async def wait_for(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Let the loop run until a condition holds; fails with `what` that never came true."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 (of files and of other processes)
                await asyncio.sleep(_TICK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


@contextmanager
def buffered_rows() -> Iterator[Counter[int]]:
    """Rows that a role in this process has buffered so far, by topic partition."""
    rows: Counter[int] = Counter()
    add = Buffer.add

    def count(
        self: Buffer, partition: int, epoch: int, start: int, chunk: Chunk, now: float
    ) -> None:
        add(self, partition, epoch, start, chunk, now)
        rows[partition] += chunk.rows

    with patch.object(Buffer, "add", count):
        yield rows
