"""Whether a broker answers, and whether the project's topics are as the config needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from headrace.config import BrokerSection
from headrace.errors import BrokerError

_PATIENCE_SECONDS: Final = 10.0
_LIMIT: Final = "max.message.bytes"


def check_broker(
    bootstrap_servers: str, settings: BrokerSection, topics: Sequence[str]
) -> tuple[str, list[str]]:
    """Ask a broker for itself and for these topics: what it is, and what is to be mended.

    A topic that is not there yet is made by the first `run`. Raises `BrokerError` where the broker
    does not answer.
    """
    return asyncio.run(_check(bootstrap_servers, settings, topics))


async def _check(
    bootstrap_servers: str, settings: BrokerSection, topics: Sequence[str]
) -> tuple[str, list[str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await admin.start()
            cluster = await admin.describe_cluster()
            known = sorted(set(await admin.list_topics()) & set(topics))
            limits = await _limits(admin, known) if known else {}
    except (KafkaError, TimeoutError, OSError) as error:
        raise BrokerError(
            f"the broker {bootstrap_servers} does not answer: {error!r}",
            remedy="check [broker] bootstrap_servers, and that it runs and can be reached",
        ) from error
    finally:
        with suppress(KafkaError, OSError):
            await admin.close()
    nodes = len(cluster["brokers"])
    about = f"{bootstrap_servers}: {nodes} node(s), {len(known)} of {len(topics)} topics"
    return about, list(_too_small(settings, limits))


async def _limits(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Each topic's limit on a batch, in bytes, as far as the broker says it."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
    limits: dict[str, int] = {}
    for answer in await admin.describe_configs(asked):
        for resource in answer.resources:
            topic, entries = resource[3], resource[4]
            for entry in entries:
                if entry[0] == _LIMIT:
                    limits[topic] = int(entry[1])
    return limits


def _too_small(settings: BrokerSection, limits: dict[str, int]) -> Iterator[str]:
    for topic, limit in limits.items():
        if limit < settings.max_message_bytes:
            yield (
                f"{topic} takes batches of {limit:,} bytes, [broker] max_message_bytes is"
                f" {settings.max_message_bytes:,}: set that to {limit}, or raise the topic's"
                f" {_LIMIT}"
            )
