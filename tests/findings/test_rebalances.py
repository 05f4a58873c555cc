"""An assignment is believed once its place is found, and a listener that fails stops the role.

design.md, "Guarantees", *A batch continues the table or is not written*.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from headrace.consumers.batch import Part
from headrace.consumers.intake import Intake
from headrace.consumers.landing import Landing
from headrace.consumers.lane import Admission, Lane, Phase
from headrace.consumers.membership import GroupSeat
from headrace.consumers.service import _ConsumeService
from headrace.infra.broker.server import BrokerServer
from headrace.lakehouse.bronze import TopicPosition
from support.consume_project import PARTITIONS, ConsumeProject, ids, wait_for
from support.protection import Protection

RECORDS = 100


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    project = ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)
    await project.create_topic()
    return project


async def test_what_is_delivered_before_the_seek_is_not_taken(
    protection: Protection, project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane drops what comes before its place is found, and a batch has to continue the table.

    Taken out: both, so that there is the seek on assignment, and the fence at the commit. The
    events are other producers': of our own the record numbers would tell that they were taken.
    """
    async with project.producer() as producer:
        for n in range(RECORDS):
            await producer.send(project.topic, b"%d" % n, partition=0)
    await project.consume_all()

    delivered = asyncio.Event()
    records, find_place, admit = Intake.hand_on, Landing.find_place, Lane.admit

    def seen(
        self: Intake, partition: int, came: Sequence[ConsumerRecord], now: float
    ) -> int | None:
        answer = records(self, partition, came, now)
        if came[-1].offset == RECORDS - 1:
            delivered.set()
        return answer

    async def slowly(self: Landing, intake: Intake) -> None:
        await asyncio.wait_for(delivered.wait(), 60)
        await find_place(self, intake)

    def from_a_position_of_its_own(self: GroupSeat, partitions: Iterable[TopicPartition]) -> None:
        for tp in partitions:
            self._consumer.seek(tp, 0)

    # FastStream delivers while a listener is still at work; ours pauses the topic partition, which
    # is left away here in both runs.
    monkeypatch.setattr(GroupSeat, "hold", from_a_position_of_its_own)
    monkeypatch.setattr(Landing, "find_place", slowly)
    monkeypatch.setattr(Intake, "hand_on", seen)

    def let_in(self: Lane, came: Sequence[ConsumerRecord]) -> Admission:
        if self.phase is not Phase.SEEKING:
            return admit(self, came)
        self.position = self.position or TopicPosition(1, 0)
        return self._take(came)

    protection.is_replaced_by(Lane, "admit", let_in)
    protection.is_replaced_by(Part, "continues", lambda *_: True)
    await project.consume_all()
    found = Counter(int(row["data"]) for row in project.rows("data"))
    protection.check(Counter(range(RECORDS)), found, doubled=RECORDS)


async def test_a_rebalance_listener_that_fails_stops_the_role(
    protection: Protection, project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a listener raises ends the role (`GroupSeat.guard`), and whoever restarts it goes on.

    Taken out: aiokafka writes it to its log and goes on, without what the listener did not do.
    """

    async def unguarded(_: GroupSeat, work: Awaitable[None]) -> None:
        await work

    assigned = _ConsumeService.assigned

    def failing(self: _ConsumeService, partitions: Iterable[TopicPartition]) -> None:
        assigned(self, [tp for tp in partitions if tp.partition != 0])
        raise ConnectionError("the lake cannot be reached")

    await project.publish(range(PARTITIONS), 10)
    protection.is_replaced_by(GroupSeat, "guard", unguarded)
    with monkeypatch.context() as patch:
        patch.setattr(_ConsumeService, "assigned", failing)
        if protection.stands:
            with pytest.raises(ConnectionError):
                await project.consume_all()
        else:
            async with project.consuming() as role:
                await wait_for(lambda: project.landed().total() == 30, "the other three", 60)
                assert not role.done()
    if protection.stands:
        await project.consume_all()  # as the supervisor would
    protection.check(ids(range(PARTITIONS), 10), project.landed(), lost=10)
