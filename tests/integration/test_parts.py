"""The real parts do what the lake and the topics lean on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from deltalake import DeltaTable, write_deltalake

from parts.kafka import KafkaNode
from parts.s3 import S3Server

WRITERS, ROWS_EACH = 4, 5


async def _round_trip(bootstrap_servers: str, values: list[bytes]) -> list[bytes | None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("round.trip", 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True
    ) as producer:
        for value in values:
            await producer.send_and_wait("round.trip", value)
    async with AIOKafkaConsumer(
        "round.trip", bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        return [(await consumer.getone()).value for _ in values]


async def test_apache_kafka_gives_back_what_was_published(real_kafka: KafkaNode) -> None:
    values = [b"one", b"two", "drei \N{SNOWMAN}".encode()]
    assert await _round_trip(real_kafka.bootstrap_servers, values) == values


def test_writers_of_one_table_on_s3_lose_no_commit(s3_server: S3Server, s3_bucket: str) -> None:
    """What conditional put is for: without it one commit overwrites another."""
    uri, options = f"s3://{s3_bucket}/numbers", s3_server.storage_options
    write_deltalake(uri, pa.table({"n": pa.array([], pa.int64())}), storage_options=options)

    def write(writer: int) -> None:
        for n in range(ROWS_EACH):
            row = pa.table({"n": [writer * ROWS_EACH + n]})
            write_deltalake(uri, row, mode="append", storage_options=options)

    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(write, range(WRITERS)))

    table = DeltaTable(uri, storage_options=options)
    assert table.version() == WRITERS * ROWS_EACH
    rows = pa.table(table.to_pyarrow_table()).column("n").to_pylist()
    assert sorted(rows) == list(range(WRITERS * ROWS_EACH))
