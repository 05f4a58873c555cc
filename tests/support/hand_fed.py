"""A consumer that fetches when it is told to: all of headrace's but its seat in the group."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from headrace.config import Config
from headrace.consumers.batch import BatchLimits
from headrace.consumers.bronze_thread import BronzeThread
from headrace.consumers.bronze_writer import BronzeWriter
from headrace.consumers.health import ConsumeHealth
from headrace.consumers.intake import Intake
from headrace.consumers.landing import Landing
from headrace.consumers.log_reader import LogReader
from headrace.lakehouse.delta import Lake


class HandSeat:
    """A seat in no group: it holds what it is given, and remembers where to fetch from."""

    def __init__(self) -> None:
        self.places: dict[TopicPartition, int] = {}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.places[tp] = offset

    def is_assigned(self, tp: TopicPartition) -> bool:
        return True

    async def position(self, tp: TopicPartition) -> int:
        return self.places[tp]

    def tell_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        pass


class HandFed:
    """One consumer of some topic partitions; `opened` makes one."""

    def __init__(self, config: Config, bootstrap_servers: str) -> None:
        topic = config.topic("sales")
        self.seat = HandSeat()
        self.reader = LogReader(bootstrap_servers)
        self._thread = BronzeThread()
        self._bootstrap_servers = bootstrap_servers
        self.landing = Landing(
            self.seat, self.reader, self._thread, lambda _report: None, ConsumeHealth()
        )
        self.writer = BronzeWriter(Lake(config.lake_uri), "sales", topic)
        self.intake = Intake(
            "sales",
            topic,
            config.stream("sales"),
            BatchLimits(100_000, 10**9, 60.0),
            self.writer,
        )

    @classmethod
    @asynccontextmanager
    async def opened(cls, config: Config, bootstrap_servers: str) -> AsyncIterator[Self]:
        """Ready to be assigned topic partitions."""
        consumer = cls(config, bootstrap_servers)
        consumer.writer.open()
        try:
            yield consumer
        finally:
            await consumer.reader.close()
            consumer._thread.close()

    async def assign(self, *partitions: int) -> None:
        """Topic partitions are ours, and have found their place."""
        for partition in partitions:
            self.intake.assigned(partition)
        await self.find_place()

    async def find_place(self) -> None:
        """Compare table and log, and seek."""
        await self.landing.find_place(self.intake)

    async def fetch(self, partition: int = 0) -> None:
        """Hand on all there is from the place on; what has to be sought again is."""
        tp = TopicPartition(self.intake.topic, partition)
        records = await self.read(tp, self.seat.places[tp])
        if not records:
            return
        self.seat.places[tp] = records[-1].offset + 1
        seek_to = self.intake.hand_on(partition, records, time.monotonic())
        if seek_to is not None:
            self.seat.seek(tp, seek_to)

    async def read(self, tp: TopicPartition, offset: int) -> Sequence[ConsumerRecord]:
        """The log's records from an offset on."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers, group_id=None, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, offset)
            records: list[ConsumerRecord] = []
            while await consumer.position(tp) < end:
                records += (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
            return records
        finally:
            await consumer.stop()

    async def land(self, *partitions: int) -> None:
        """Fetch and commit until everything there is has landed."""
        for _ in range(10):
            for partition in partitions:
                await self.fetch(partition)
            await self.landing.flush(self.intake)
            if not self.intake.seeking():
                return
            await self.find_place()
        raise AssertionError("it does not come to rest")
