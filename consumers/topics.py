"""Makes topics that are not there yet: producers and consumers may start in any order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from headrace.config import Config
from headrace.errors import BrokerError

log = structlog.get_logger("consume")

_FIRST_RETRY_SECONDS: Final = 0.25
_LONGEST_RETRY_SECONDS: Final = 3.0


async def ensure_topics(
    config: Config, bootstrap_servers: str, topics: Collection[str], *, patience_seconds: float
) -> None:
    """Create the topics that do not exist; one that somebody else just made is as good.

    Raises `BrokerError` where the broker stays out of reach for `patience_seconds`, or refuses.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience_seconds
    pause = _FIRST_RETRY_SECONDS
    while True:
        try:
            await _ensure(config, bootstrap_servers, topics)
        except (KafkaError, OSError, TimeoutError) as error:
            if clock() >= deadline:
                raise BrokerError(
                    f"the broker at {bootstrap_servers} cannot be reached: {error}",
                    remedy="start it, or correct [broker] bootstrap_servers in headrace.toml",
                ) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_RETRY_SECONDS)
        else:
            return


async def _ensure(config: Config, bootstrap_servers: str, topics: Collection[str]) -> None:
    broker = config.settings.broker
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=10_000)
    try:
        await admin.start()
        missing = sorted(set(topics) - set(await admin.list_topics()))
        if not missing:
            return
        answer = await admin.create_topics(
            [
                NewTopic(
                    name=topic,
                    num_partitions=broker.topic_partitions,
                    replication_factor=broker.new_topic_replication,
                    topic_configs=broker.new_topic_configs,
                )
                for topic in missing
            ]
        )
    finally:
        await admin.close()
    for topic, code, *message in answer.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            if error.retriable:
                raise error(topic)
            raise BrokerError(
                f"the broker refused to create topic {topic}: {error.__name__} {message}",
                remedy="create it by hand, or correct [broker] in headrace.toml",
            )
        if not code:
            log.info("topic_created", topic=topic, partitions=broker.topic_partitions)
