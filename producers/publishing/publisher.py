"""One delivery onto its topic partition: in record order, several batches on their way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from headrace.errors import BrokerError
from headrace.producers.publishing.broker_link import BrokerLink, LinkLostError
from headrace.producers.publishing.record_encoder import EncodedBatch

# No acknowledgement for so long, with batches on their way: the broker is gone or was replaced
# (a topic that vanished is retried by aiokafka without end).
STALLED_AFTER_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Sent:
    """How far the broker has acknowledged a delivery.

    `unreadable`: how many of the acknowledged were unreadable. `last_offset`: None where no record
    is acknowledged or the broker did not say where it put it.
    """

    next_number: int = 0
    unreadable: int = 0
    last_offset: int | None = None

    def plus(self, batch: EncodedBatch, base_offset: int) -> Sent:
        """With one more batch acknowledged."""
        known = base_offset >= 0  # a duplicate beyond the broker's memory has no offset
        last_offset = base_offset + batch.builder.record_count() - 1 if known else None
        return Sent(batch.next_number, self.unreadable + batch.unreadable, last_offset)


async def publish(
    link: BrokerLink,
    topic: str,
    partition: int,
    batches: Iterator[EncodedBatch] | Sequence[EncodedBatch],
    sent: Sent,
    on_acknowledged: Callable[[Sent], None],
) -> Sent:
    """Send batches and wait until all are acknowledged; `sent` is where it goes on from.

    `batches` is read ahead by one, in a thread, where it is not at hand. Raises `LinkLostError`
    where the connection has to be made anew, `BrokerError` where that would not help, and what
    `batches` raises.
    """
    waiting: deque[tuple[asyncio.Future[Any], EncodedBatch]] = deque()
    try:
        ahead = _in_turn(batches) if isinstance(batches, Sequence) else _read_ahead(batches)
        async with aclosing(ahead) as ready:
            async for batch in ready:
                async with asyncio.timeout(STALLED_AFTER_SECONDS):
                    waiting.append((await link.send(batch.builder, topic, partition), batch))
                while waiting and waiting[0][0].done():
                    sent = await _acknowledged(link, waiting, sent, on_acknowledged)
        while waiting:
            async with asyncio.timeout(STALLED_AFTER_SECONDS):
                sent = await _acknowledged(link, waiting, sent, on_acknowledged)
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise BrokerError(
            f"the broker refuses batches of {link.max_message_bytes} bytes on {topic}",
            remedy="set [broker] max_message_bytes to its message.max.bytes, or raise that",
        ) from error
    except TopicAuthorizationFailedError as error:
        raise BrokerError(f"the broker does not allow writing to {topic}") from error
    except (KafkaError, TimeoutError) as error:
        raise LinkLostError(f"{topic}-{partition}: {error!r}") from error
    finally:
        for future, _ in waiting:
            future.add_done_callback(_ignore)
    return sent


async def _acknowledged(
    link: BrokerLink,
    waiting: deque[tuple[asyncio.Future[Any], EncodedBatch]],
    sent: Sent,
    on_acknowledged: Callable[[Sent], None],
) -> Sent:
    future, batch = waiting[0]
    metadata = await link.until_lost(future)
    waiting.popleft()
    sent = sent.plus(batch, metadata.offset)
    on_acknowledged(sent)
    return sent


async def _in_turn(batches: Sequence[EncodedBatch]) -> AsyncGenerator[EncodedBatch, None]:
    for batch in batches:
        yield batch


async def _read_ahead(batches: Iterator[EncodedBatch]) -> AsyncGenerator[EncodedBatch, None]:
    """The next batch is read and encoded in a thread while this one is sent.

    In one thread from the first to the last: what is freed in another is not used again there, and
    a process that reads for long would grow by that.
    """
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix="read")
    ahead = loop.run_in_executor(thread, next, batches, None)
    try:
        while (batch := await asyncio.shield(ahead)) is not None:
            ahead = loop.run_in_executor(thread, next, batches, None)
            yield batch
    finally:
        # The thread cannot be interrupted: the files it reads must not be closed under it.
        while not ahead.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([ahead])
        if not ahead.cancelled():
            ahead.exception()
        thread.shutdown(wait=False)


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
