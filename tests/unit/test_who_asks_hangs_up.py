"""Whoever asks the producer goes away in the middle: what a thread writes down then still goes on.

Each step is held up in its thread, after it has written, and who waits for it is cancelled: twice,
as when a caller hangs up and the producer ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.errors import LedgerError
from headrace.producers import producer as producer_module
from headrace.producers.decisions import Action, Decision
from headrace.producers.delivery import (
    BronzeVersion,
    DeliveryState,
    Exchange,
    FrozenReading,
    IdentityBy,
    RecordCount,
)
from headrace.producers.folders.intake import Intake
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.producer import Producer
from headrace.producers.publishing.broker_link import BrokerLink
from headrace.producers.publishing.broker_session import BrokerSession
from headrace.producers.receiving import Receiving
from headrace.producers.retries import Retries
from headrace.producers.spool.spool import Spool
from headrace.producers.task_parts import thread_to_its_end, to_its_end
from headrace.producers.webhook.adoption import open_journals
from headrace.producers.webhook.call import Call
from support.polled import PolledProject
from support.produce_project import CONFIG, ProduceProject
from support.replay_answer import json_answer
from support.replay_client import api_source
from support.replay_server import replay_server

DEADLINE_SECONDS = 60.0
HOOKS = """
[sources.hooks]
kind = "webhook"
signature = "none"
stream = "sales"
"""


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop", config=CONFIG + HOOKS)


@asynccontextmanager
async def at_rest(project: ProduceProject) -> AsyncIterator[tuple[Producer, Ledger]]:
    """A producer whose pipeline does not run: what is on its way stays there."""
    config = project.config
    with Ledger(config.paths.ledger) as ledger, open_journals(config) as journals:
        session = BrokerSession(lambda: BrokerLink("127.0.0.1:9", config.settings.broker), ())
        sources = config.settings.sources
        yield (
            Producer(config, ledger, Spool(config.paths.spool), session, sources, journals),
            ledger,
        )


class Held:
    """A step that is held up at its end, in its thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        step = getattr(owner, name)
        self._there, self._on = threading.Event(), threading.Event()

        def held(*args: object, **kwargs: object) -> object:
            result = step(*args, **kwargs)
            self._there.set()
            assert self._on.wait(DEADLINE_SECONDS)
            return result

        monkeypatch.setattr(owner, name, held)

    async def left_by(self, work: Coroutine[Any, Any, object]) -> None:
        """Let who waits for this go away meanwhile; returns when he has."""
        asks = asyncio.create_task(work)
        try:
            assert await asyncio.to_thread(self._there.wait, DEADLINE_SECONDS)
            for _ in range(2):
                asks.cancel()
                for _ in range(3):
                    await asyncio.sleep(0)
            assert not asks.done(), "it ended before its thread"
        finally:
            self._on.set()
        with pytest.raises(asyncio.CancelledError):
            await asks


def go_on(producer: Producer, ledger: Ledger) -> list[DeliveryState]:
    """Where the deliveries stand that are on their way; each of them is seen to."""
    rows = ledger.deliveries(tuple(DeliveryState))
    for row in rows:
        if row.state in (DeliveryState.RECEIVED, DeliveryState.PUBLISHING):
            assert row.delivery_id in producer.pipeline._unpublished
        if row.state is DeliveryState.PUBLISHED:
            assert row.delivery_id in producer.pipeline.landing.waiting
    return [row.state for row in rows]


async def test_files_that_were_being_taken_are_published(
    project: ProduceProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop("a.csv", "1")
    async with at_rest(project) as (producer, ledger):
        held = Held(monkeypatch, Intake, "take")
        await held.left_by(producer.taking.look("sales"))
        assert go_on(producer, ledger) == ["received"]


async def test_calls_that_were_being_adopted_are_published(
    project: ProduceProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_rest(project) as (producer, ledger):
        journal = producer.adoption._journals["hooks"]
        exchange = Exchange("POST", "/hooks/hooks", None, (), datetime.now(UTC))
        await journal.append(Call("guid-1", IdentityBy.NAME, exchange, b"{}").to_bytes())
        held = Held(monkeypatch, Receiving, "receive")
        await held.left_by(producer.adoption.catch_up("hooks"))
        assert go_on(producer, ledger) == ["received"]
        assert journal.waiting_bytes == 0


async def test_a_page_that_was_being_taken_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replay_server() as server:
        server.handlers["/items"] = lambda _: json_answer(b'[{"id": 1}]')
        polled = PolledProject(tmp_path, api_source(f"{server.url}/items"))
        receipts: list[Receipt] = []
        async with polled.poller(receipts) as poller:
            held = Held(monkeypatch, Receiving, "receive")
            await held.left_by(poller.poll())
        assert [r.identity.delivery_id for r in receipts] == [r.delivery_id for r in polled.rows]
        assert len(receipts) == 1


def rejected(ledger: Ledger, delivery_id: str) -> None:
    ledger.reject(delivery_id, "for a test", "another config")


def published(ledger: Ledger, delivery_id: str) -> None:
    ledger.freeze(delivery_id, FrozenReading("{}", 0, "sales"))
    ledger.published(delivery_id, RecordCount(1, 0), 0)


def landed(ledger: Ledger, delivery_id: str) -> None:
    published(ledger, delivery_id)
    ledger.land([delivery_id], BronzeVersion("a table that is gone", 1), datetime.now(UTC))


@pytest.mark.parametrize(
    ("before", "action", "owner", "step", "after"),
    [
        (rejected, Action.RETRY, Retries, "retry", ["received"]),
        (landed, Action.REREAD, Receiving, "take_again", ["landed", "received"]),
        (published, Action.REPUBLISH, Ledger, "republish", ["publishing"]),
        (landed, Action.REPUBLISH, Ledger, "republish", ["publishing"]),
    ],
)
async def test_what_was_decided_is_carried_out(
    project: ProduceProject,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Ledger, str], None],
    action: Action,
    owner: type,
    step: str,
    after: list[str],
) -> None:
    project.drop("a.csv", "1")
    async with at_rest(project) as (producer, ledger):
        await producer.taking.look("sales")
        (row,) = ledger.deliveries(tuple(DeliveryState))
        before(ledger, row.delivery_id)
    async with at_rest(project) as (producer, ledger):
        await producer.go_on()
        held = Held(monkeypatch, owner, step)
        await held.left_by(producer._decider.carry_out(Decision(action, (row.delivery_id,))))
        assert go_on(producer, ledger) == after


async def test_what_the_lake_has_lost_is_followed_again(
    project: ProduceProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop("a.csv", "1")
    async with at_rest(project) as (producer, ledger):
        await producer.taking.look("sales")
        (row,) = ledger.deliveries(tuple(DeliveryState))
        landed(ledger, row.delivery_id)
    async with at_rest(project) as (producer, ledger):
        held = Held(monkeypatch, producer_module, "unland")
        await held.left_by(producer.look_for_setbacks())
        assert go_on(producer, ledger) == ["published"]


async def test_what_is_revoked_is_let_go_of(
    project: ProduceProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop("a.csv", "1")
    async with at_rest(project) as (producer, ledger):
        await producer.taking.look("sales")
        (row,) = ledger.deliveries(tuple(DeliveryState))
        held = Held(monkeypatch, Ledger, "revoke")
        await held.left_by(producer.revoker.revoke([row]))
        assert [row.state for row in ledger.deliveries(tuple(DeliveryState))] == ["revoked"]
        assert producer.pipeline.unpublished == 0


# --- the one way in which all of them do it


async def test_what_is_awaited_to_its_end_gives_and_raises_what_it_does() -> None:
    assert await thread_to_its_end(int, "7") == 7
    with pytest.raises(ValueError, match="x"):
        await thread_to_its_end(int, "x")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            LedgerError("the disk is full", remedy="make room"),
            {"reason": "the disk is full", "remedy": "make room"},
        ),
        (bug := ValueError("a bug"), {"exc_info": bug}),
    ],
)
async def test_what_fails_after_who_asked_was_gone_is_told(
    failure: Exception, told: dict[str, object]
) -> None:
    begun, on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        begun.set()
        await on.wait()
        raise failure

    asks = asyncio.create_task(to_its_end(fail()))
    await begun.wait()
    asks.cancel()
    with capture_logs() as lines:
        on.set()
        with pytest.raises(asyncio.CancelledError):
            await asks
    assert lines == [{"event": "ended_with_an_error", "log_level": "error", **told}]
