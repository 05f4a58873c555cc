"""Answers that clients lead to seldom or never: each request is sent as it is, to either broker.

What is expected is what Apache Kafka 4.1 answered. Where the embedded broker answers otherwise,
on purpose, it is said, or stands in `test_embedded_alone`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition
from aiokafka.record.util import calc_crc32c
from kio.schema.delete_groups.v2.request import DeleteGroupsRequest
from kio.schema.delete_groups.v2.response import DeleteGroupsResponse
from kio.schema.describe_groups.v6.request import DescribeGroupsRequest
from kio.schema.describe_groups.v6.response import DescribedGroup, DescribeGroupsResponse
from kio.schema.errors import ErrorCode
from kio.schema.heartbeat.v4.request import HeartbeatRequest
from kio.schema.heartbeat.v4.response import HeartbeatResponse
from kio.schema.join_group.v8 import request as join_v8
from kio.schema.join_group.v8 import response as joined_v8
from kio.schema.join_group.v9.request import JoinGroupRequest, JoinGroupRequestProtocol
from kio.schema.join_group.v9.response import JoinGroupResponse
from kio.schema.leave_group.v5.request import LeaveGroupRequest, MemberIdentity
from kio.schema.leave_group.v5.response import LeaveGroupResponse
from kio.schema.list_offsets.v9.request import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from kio.schema.list_offsets.v9.response import ListOffsetsResponse
from kio.schema.metadata.v12.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v12.response import MetadataResponse
from kio.schema.offset_commit.v8 import request as commit_v8
from kio.schema.offset_commit.v8 import response as committed_v8
from kio.schema.offset_commit.v9.request import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from kio.schema.offset_commit.v9.response import OffsetCommitResponse
from kio.schema.produce.v9.request import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)
from kio.schema.produce.v9.response import ProduceResponse
from kio.schema.sync_group.v5.request import SyncGroupRequest, SyncGroupRequestAssignment
from kio.schema.sync_group.v5.response import SyncGroupResponse
from kio.schema.types import BrokerId, GroupId, TopicName
from kio.static.primitive import Records, i8, i16, i32, i32Timedelta, i64

from support.broker_clients import DEADLINE_SECONDS, new_consumer
from support.broker_wire import ask
from support.either_broker import Broker
from support.raw_batches import raw_batch, raw_record

FENCED = ErrorCode.fenced_instance_id
GENERATION = ErrorCode.illegal_generation
NONE = ErrorCode.none
PROTOCOL = ErrorCode.inconsistent_group_protocol
REBALANCE = ErrorCode.rebalance_in_progress
STRANGER = ErrorCode.unknown_member_id
RANGE = (("range", b"m"),)
LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3


def milliseconds(count: int) -> i32Timedelta:
    return i32Timedelta.parse(dt.timedelta(milliseconds=count))


@dataclass(frozen=True, slots=True)
class GroupWire:
    """A consumer group's requests, one by one."""

    address: str
    group: str
    topic: str

    async def join(
        self,
        member: str = "",
        *,
        instance: str | None = None,
        session_ms: int = 30_000,
        kind: str = "consumer",
        protocols: tuple[tuple[str, bytes], ...] = RANGE,
    ) -> JoinGroupResponse:
        request = JoinGroupRequest(
            group_id=GroupId(self.group),
            session_timeout=milliseconds(session_ms),
            rebalance_timeout=milliseconds(30_000),
            member_id=member,
            group_instance_id=instance,
            protocol_type=kind,
            protocols=tuple(JoinGroupRequestProtocol(name=n, metadata=m) for n, m in protocols),
            reason=None,
        )
        return await ask(self.address, request, JoinGroupResponse)

    async def sync(
        self,
        member: str,
        generation: int,
        *,
        instance: str | None = None,
        kind: str | None = "consumer",
        protocol: str | None = "range",
        share: bytes | None = None,
    ) -> SyncGroupResponse:
        shares = (
            ()
            if share is None
            else (SyncGroupRequestAssignment(member_id=member, assignment=share),)
        )
        request = SyncGroupRequest(
            group_id=GroupId(self.group),
            generation_id=i32(generation),
            member_id=member,
            group_instance_id=instance,
            protocol_type=kind,
            protocol_name=protocol,
            assignments=shares,
        )
        return await ask(self.address, request, SyncGroupResponse)

    async def beat(self, member: str, generation: int, instance: str | None = None) -> ErrorCode:
        request = HeartbeatRequest(
            group_id=GroupId(self.group),
            generation_id=i32(generation),
            member_id=member,
            group_instance_id=instance,
        )
        return (await ask(self.address, request, HeartbeatResponse)).error_code

    async def commit(
        self,
        member: str = "",
        generation: int = -1,
        *,
        instance: str | None = None,
        partition: int = 0,
        note: str = "",
    ) -> ErrorCode:
        place = OffsetCommitRequestPartition(
            partition_index=i32(partition),
            committed_offset=i64(1),
            committed_leader_epoch=i32(-1),
            committed_metadata=note,
        )
        request = OffsetCommitRequest(
            group_id=GroupId(self.group),
            generation_id_or_member_epoch=i32(generation),
            member_id=member,
            group_instance_id=instance,
            topics=(OffsetCommitRequestTopic(name=TopicName(self.topic), partitions=(place,)),),
        )
        answer = await ask(self.address, request, OffsetCommitResponse)
        return answer.topics[0].partitions[0].error_code

    async def leave(
        self, *members: tuple[str, str | None]
    ) -> tuple[ErrorCode, tuple[ErrorCode, ...]]:
        identities = tuple(
            MemberIdentity(member_id=m, group_instance_id=i, reason=None) for m, i in members
        )
        request = LeaveGroupRequest(group_id=GroupId(self.group), members=identities)
        answer = await ask(self.address, request, LeaveGroupResponse)
        return answer.error_code, tuple(member.error_code for member in answer.members)

    async def describe(self) -> DescribedGroup:
        request = DescribeGroupsRequest(
            groups=(GroupId(self.group),), include_authorized_operations=False
        )
        return (await ask(self.address, request, DescribeGroupsResponse)).groups[0]

    async def delete(self) -> ErrorCode:
        request = DeleteGroupsRequest(groups_names=(GroupId(self.group),))
        return (await ask(self.address, request, DeleteGroupsResponse)).results[0].error_code

    async def settle_alone(self, instance: str | None = None) -> tuple[str, int]:
        """Be the only member of a stable group: id and generation."""
        joined = await self.join(instance=instance)
        if joined.error_code is ErrorCode.member_id_required:
            joined = await self.join(joined.member_id)
        assert (joined.error_code, joined.leader) == (NONE, joined.member_id)
        synced = await self.sync(
            joined.member_id, joined.generation_id, instance=instance, share=b"share"
        )
        assert (synced.error_code, synced.assignment) == (NONE, b"share")
        return joined.member_id, joined.generation_id


@pytest.fixture
async def wire(broker: Broker, topic: str) -> GroupWire:
    wire = GroupWire(broker.bootstrap_servers, topic, topic)
    # Apache Kafka makes the topic of offsets when the first group is looked for.
    async with new_consumer(broker.bootstrap_servers, group_id=topic) as looking:
        await looking.committed(TopicPartition(topic, 0))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await wire.beat("nobody", 1) is ErrorCode.not_coordinator:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return wire


async def test_a_group_that_is_not_there_has_no_members(wire: GroupWire) -> None:
    assert await wire.beat("m", 1) is STRANGER
    assert (await wire.sync("m", 1)).error_code is STRANGER
    assert await wire.leave(("m", None)) == (NONE, (STRANGER,))
    assert (await wire.join("m")).error_code is STRANGER
    assert await wire.commit("m", 1) is ErrorCode.group_id_not_found
    assert await wire.delete() is ErrorCode.group_id_not_found
    described = await wire.describe()
    assert (described.error_code, described.group_state) == (ErrorCode.group_id_not_found, "Dead")
    place = commit_v8.OffsetCommitRequestPartition(
        partition_index=i32(0),
        committed_offset=i64(1),
        committed_leader_epoch=i32(-1),
        committed_metadata="",
    )
    old = commit_v8.OffsetCommitRequest(
        group_id=GroupId(wire.group),
        generation_id_or_member_epoch=i32(1),
        member_id="m",
        group_instance_id=None,
        topics=(
            commit_v8.OffsetCommitRequestTopic(name=TopicName(wire.topic), partitions=(place,)),
        ),
    )
    answer = await ask(wire.address, old, committed_v8.OffsetCommitResponse)
    assert answer.topics[0].partitions[0].error_code is GENERATION


async def test_a_group_without_a_name_takes_offsets_and_no_members(
    broker: Broker, topic: str, wire: GroupWire
) -> None:
    unnamed = GroupWire(broker.bootstrap_servers, "", topic)
    assert (await unnamed.join()).error_code is ErrorCode.invalid_group_id
    assert await unnamed.beat("m", 1) is ErrorCode.invalid_group_id
    assert (await unnamed.sync("m", 1)).error_code is ErrorCode.invalid_group_id
    assert await unnamed.leave(("m", None)) == (ErrorCode.invalid_group_id, ())
    assert await unnamed.commit() is NONE
    assert await unnamed.delete() is NONE


@pytest.mark.parametrize("session_ms", [10, 100_000_000])
async def test_a_session_too_short_or_too_long_is_refused(wire: GroupWire, session_ms: int) -> None:
    joined = await wire.join(session_ms=session_ms)
    assert joined.error_code is ErrorCode.invalid_session_timeout


async def test_a_member_that_names_no_protocol_or_another_is_refused(wire: GroupWire) -> None:
    assert (await wire.join(protocols=())).error_code is PROTOCOL
    assert (await wire.join(kind="")).error_code is PROTOCOL
    member, generation = await wire.settle_alone()
    assert (await wire.join(kind="connect")).error_code is PROTOCOL
    assert (await wire.join(protocols=(("other", b""),))).error_code is PROTOCOL
    assert (await wire.sync(member, generation, kind="other")).error_code is PROTOCOL
    assert (await wire.sync(member, generation, protocol="other")).error_code is PROTOCOL
    assert (await wire.sync(member, generation, kind=None)).error_code is PROTOCOL
    assert (await wire.sync(member, generation, protocol=None)).error_code is PROTOCOL


async def test_a_new_member_is_one_only_once_it_comes_back_with_its_id(wire: GroupWire) -> None:
    promised = await wire.join()
    assert promised.error_code is ErrorCode.member_id_required
    member = promised.member_id
    assert await wire.beat(member, 1) is STRANGER
    assert await wire.commit(member, 1) is STRANGER
    assert (await wire.sync(member, 1)).error_code is STRANGER
    joined = await wire.join(member)
    assert (joined.error_code, joined.member_id, len(joined.members)) == (NONE, member, 1)
    generation = joined.generation_id
    assert await wire.beat(member, generation) is NONE
    assert await wire.commit(member, generation) is REBALANCE
    assert await wire.commit() is STRANGER
    assert (await wire.describe()).group_state == "CompletingRebalance"
    assert (await wire.sync(member, generation, share=b"s")).assignment == b"s"
    assert (await wire.sync(member, generation)).assignment == b"s"  # asked twice, told twice
    assert await wire.commit(member, generation) is NONE


async def test_members_of_another_generation_and_strangers_are_told_so(wire: GroupWire) -> None:
    member, generation = await wire.settle_alone()
    for other in (generation - 1, generation + 1):
        assert await wire.beat(member, other) is GENERATION
        assert await wire.commit(member, other) is GENERATION
        assert (await wire.sync(member, other)).error_code is GENERATION
    assert await wire.commit(member, -1) is GENERATION
    assert await wire.beat("stranger", generation) is STRANGER
    assert await wire.commit("stranger", generation) is STRANGER
    assert await wire.beat(member, generation, "instance") is STRANGER
    assert await wire.commit(member, generation, instance="instance") is STRANGER
    assert await wire.commit() is STRANGER
    described = await wire.describe()
    assert (described.group_state, described.protocol_data) == ("Stable", "range")
    assert described.members[0].member_assignment == b"share"
    assert await wire.delete() is ErrorCode.non_empty_group
    assert await wire.leave(("stranger", None), (member, "instance")) == (
        NONE,
        (STRANGER, STRANGER),
    )
    assert await wire.leave((member, None), (member, None)) == (NONE, (NONE, STRANGER))
    assert await wire.beat(member, generation) is STRANGER
    assert await wire.commit(member, generation) is STRANGER
    assert await wire.commit() is NONE
    assert (await wire.describe()).group_state == "Empty"
    assert await wire.delete() is NONE


async def test_a_static_member_that_is_back_takes_its_place_and_its_old_self_is_fenced(
    wire: GroupWire,
) -> None:
    old, generation = await wire.settle_alone("i")
    back = await wire.join(instance="i")
    new = back.member_id
    assert (back.error_code, back.generation_id, back.leader) == (NONE, generation, new)
    assert back.skip_assignment
    assert await wire.beat(old, generation, "i") is FENCED
    assert await wire.commit(old, generation, instance="i") is FENCED
    assert (await wire.sync(old, generation, instance="i")).error_code is FENCED
    assert (await wire.join(old, instance="i")).error_code is FENCED
    assert await wire.beat(old, generation) is STRANGER
    assert await wire.beat(new, generation, "i") is NONE
    assert (await wire.sync(new, generation, instance="i")).assignment == b"share"
    other_words = await wire.join(instance="i", protocols=(("range", b"other"),))
    assert (other_words.generation_id, other_words.skip_assignment) == (generation, True)
    assert await wire.leave(("", "x")) == (NONE, (STRANGER,))
    assert await wire.leave(("", "i")) == (NONE, (NONE,))
    assert (await wire.describe()).group_state == "Empty"


async def test_an_older_static_leader_that_is_back_is_not_asked_to_share_anew(
    wire: GroupWire,
) -> None:
    _, generation = await wire.settle_alone("i")
    request = join_v8.JoinGroupRequest(
        group_id=GroupId(wire.group),
        session_timeout=milliseconds(30_000),
        rebalance_timeout=milliseconds(30_000),
        member_id="",
        group_instance_id="i",
        protocol_type="consumer",
        protocols=(join_v8.JoinGroupRequestProtocol(name="range", metadata=b"m"),),
        reason=None,
    )
    back = await ask(wire.address, request, joined_v8.JoinGroupResponse)
    assert (back.error_code, back.generation_id, back.members) == (NONE, generation, ())
    assert back.leader != back.member_id


async def test_offsets_are_refused_where_there_is_no_topic_partition_or_too_long_a_note(
    wire: GroupWire,
) -> None:
    assert await wire.commit(partition=9) is ErrorCode.unknown_topic_or_partition
    assert await wire.commit(note="x" * 4_097) is ErrorCode.offset_metadata_too_large
    assert await wire.commit(note="x" * 4_096) is NONE


async def test_look_ups_without_a_record_have_no_offset(broker: Broker, topic: str) -> None:
    async def look_up(partition: int, timestamp: int) -> tuple[ErrorCode, int, int]:
        place = ListOffsetsPartition(
            partition_index=i32(partition),
            current_leader_epoch=i32(-1),
            timestamp=i64(timestamp),
        )
        request = ListOffsetsRequest(
            replica_id=BrokerId(-1),
            isolation_level=i8(0),
            topics=(ListOffsetsTopic(name=TopicName(topic), partitions=(place,)),),
        )
        answer = await ask(broker.bootstrap_servers, request, ListOffsetsResponse)
        found = answer.topics[0].partitions[0]
        return found.error_code, found.offset, found.leader_epoch

    assert await look_up(0, LATEST) == (NONE, 0, 0)
    assert await look_up(0, EARLIEST) == (NONE, 0, 0)
    assert await look_up(0, MAX_TIMESTAMP) == (NONE, -1, -1)
    assert await look_up(0, 0) == (NONE, -1, -1)
    assert await look_up(0, -9) == (ErrorCode.unsupported_version, -1, -1)
    assert await look_up(9, LATEST) == (ErrorCode.unknown_topic_or_partition, -1, -1)


async def test_a_topic_is_described_once_and_a_name_that_cannot_be_is_told(
    broker: Broker, topic: str
) -> None:
    names = (topic, topic, "bad name", f"{topic}.not")
    request = MetadataRequest(
        topics=tuple(MetadataRequestTopic(topic_id=None, name=TopicName(n)) for n in names),
        allow_auto_topic_creation=False,
        include_topic_authorized_operations=False,
    )
    answer = await ask(broker.bootstrap_servers, request, MetadataResponse)
    assert sorted((t.name, t.error_code, len(t.partitions)) for t in answer.topics) == [
        ("bad name", ErrorCode.invalid_topic_exception, 0),
        (topic, NONE, 4),
        (f"{topic}.not", ErrorCode.unknown_topic_or_partition, 0),
    ]


def batch(
    producer: int = -1, epoch: int = -1, sequence: int = -1, *, last_offset_delta: int = 1
) -> bytes:
    """Two records as a producer numbers them."""
    made = bytearray(raw_batch([raw_record(0, b"v"), raw_record(1, b"v")]))
    struct.pack_into(">i", made, 23, last_offset_delta)
    struct.pack_into(">qhi", made, 43, producer, epoch, sequence)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


Append = Callable[..., Awaitable[tuple[ErrorCode, int]]]


@pytest.fixture
def append(broker: Broker, topic: str) -> Append:
    async def run(records: bytes, *, partition: int = 0, acks: int = -1) -> tuple[ErrorCode, int]:
        data = PartitionProduceData(index=i32(partition), records=Records(records))
        request = ProduceRequest(
            transactional_id=None,
            acks=i16(acks),
            timeout=milliseconds(30_000),
            topic_data=(TopicProduceData(name=TopicName(topic), partition_data=(data,)),),
        )
        answer = await ask(broker.bootstrap_servers, request, ProduceResponse)
        told = answer.responses[0].partition_responses[0]
        return told.error_code, int(told.base_offset)

    return run


async def test_batches_that_are_not_sound_are_refused(append: Append) -> None:
    sound = batch()
    assert await append(sound) == (NONE, 0)
    wrong_checksum = sound[:17] + b"\0\0\0\1" + sound[21:]
    assert await append(wrong_checksum) == (ErrorCode.corrupt_message, -1)
    assert await append(batch(last_offset_delta=5)) == (ErrorCode.invalid_record, -1)
    assert await append(sound + sound) == (ErrorCode.invalid_record, -1)
    assert await append(sound, partition=9) == (ErrorCode.unknown_topic_or_partition, -1)
    assert await append(sound, acks=2) == (ErrorCode.invalid_required_acks, -1)
    assert await append(sound, acks=1) == (NONE, 2)


async def test_an_idempotent_producers_batches_are_there_once_and_in_order(append: Append) -> None:
    gap = (ErrorCode.out_of_order_sequence_number, -1)
    assert await append(batch(7, 0, 0)) == (NONE, 0)
    assert await append(batch(7, 0, 0)) == (NONE, 0)
    assert await append(batch(7, 0, 2)) == (NONE, 2)
    assert await append(batch(7, 0, 0)) == (NONE, 0)
    assert await append(batch(7, 0, 9)) == gap
    assert await append(batch(7, 0, 3)) == gap
    assert await append(batch(7, 1, 4)) == gap  # a new epoch counts from 0
    assert await append(batch(7, 1, 0)) == (NONE, 4)
    assert await append(batch(7, 0, 4)) == (ErrorCode.invalid_producer_epoch, -1)
    for number in range(1, 6):
        assert await append(batch(7, 1, 2 * number)) == (NONE, 4 + 2 * number)
    for number in range(1, 6):  # the last five are known
        assert await append(batch(7, 1, 2 * number)) == (NONE, 4 + 2 * number)
    error, _ = await append(batch(7, 1, 0))
    assert error in {
        ErrorCode.out_of_order_sequence_number,  # Kafka
        ErrorCode.duplicate_sequence_number,  # the embedded one: clients know it is there already
    }
