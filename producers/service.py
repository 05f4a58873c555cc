"""The producer for one round: it takes in what is there, sees to it that it lands, and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from headrace.config import Config
from headrace.producers.api.windows import Span
from headrace.producers.decisions import Decision
from headrace.producers.outcome import ProduceProgress, ProduceSummary
from headrace.producers.producer import producer_at_work


async def produce_once(
    config: Config,
    *,
    bootstrap_servers: str,
    source: str | None = None,
    wait_until_landed: bool = False,
    decision: Decision | None = None,
    span: Span | None = None,
    progress: Callable[[ProduceProgress], None] = lambda _: None,
) -> ProduceSummary:
    """Take in and publish what is there, of one source or of all; then end.

    With `wait_until_landed` it ends when bronze holds all of it, which takes a running consumer:
    without one it waits until it is cancelled. With a `decision` that is carried out instead. With
    a `span` of time the source, an API, is asked for what was in it. A
    delivery that cannot be read is recorded as rejected while the others go on.

    Raises `ProjectLockedError` where another producer is at work, `BrokerError` where the broker
    cannot be reached for half a minute, `ConfigError`, `LedgerError` and `LakeError`.
    """
    async with producer_at_work(
        config, bootstrap_servers=bootstrap_servers, source=source
    ) as producer:
        repeating = 0 if decision is not None else await producer.retry_rejected(source)
        summary = await producer.take_round(
            source, progress, wait_until_landed=wait_until_landed, decision=decision, span=span
        )
        await producer.expire()
        return replace(summary, duplicates=summary.duplicates + repeating)
