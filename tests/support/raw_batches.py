"""Record batches (format v2) byte by byte: what no client library would write, and brokers take."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

_HEAD = struct.Struct(">qiibIhiqqqhii")
_CRC_AT, _CRC_FROM = 17, 21

RawHeader = tuple[bytes, bytes | None]


def varint(number: int) -> bytes:
    """A zigzag varint."""
    left = (number << 1) ^ (number >> 63)
    left &= 2**64 - 1
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def field(content: bytes | None) -> bytes:
    """Bytes with their length before them."""
    return varint(-1) if content is None else varint(len(content)) + content


def raw_record(
    delta: int,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Sequence[RawHeader] = (),
    time_delta: int = 0,
) -> bytes:
    """One record, its own length in front."""
    body = b"\0" + varint(time_delta) + varint(delta) + field(key) + field(value)
    body += varint(len(headers)) + b"".join(field(name) + field(text) for name, text in headers)
    return field(body)


def raw_batch(
    records: Iterable[bytes],
    *,
    payload: bytes | None = None,
    codec: int = 0,
    first_time: int = 1_700_000_000_000,
    base_offset: int = 0,
    record_count: int | None = None,
) -> bytes:
    """A batch with a checksum that holds; `payload` stands in for the records' bytes."""
    listed = list(records)
    number = len(listed) if record_count is None else record_count
    content = b"".join(listed) if payload is None else payload
    head = (base_offset, _HEAD.size - 12 + len(content), -1, 2, 0, codec, number - 1)
    batch = bytearray(_HEAD.pack(*head, first_time, first_time, -1, -1, -1, number) + content)
    return with_checksum(batch)


def with_checksum(batch: bytearray) -> bytes:
    """The batch with the checksum its bytes have."""
    struct.pack_into(">I", batch, _CRC_AT, calc_crc32c(bytes(batch[_CRC_FROM:])))
    return bytes(batch)


async def send_raw(bootstrap_servers: str, topic: str, partition: int, batch: bytes) -> int:
    """Produce a batch as it is; its first offset is the answer."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers)
    await client.bootstrap()
    try:
        await client._wait_on_metadata(topic)
        await client.force_metadata_update()
        node = next(iter(client.cluster.brokers())).nodeId
        request = ProduceRequest(
            transactional_id=None,
            required_acks=-1,
            timeout=10_000,
            topics=[(topic, [(partition, batch)])],
        )
        answer = await client.send(node, request)
        ((_topic, ((_partition, error, offset, *_rest),)),) = answer.topics
        assert error == 0, f"the broker refused it: {error}"
        return int(offset)
    finally:
        await client.close()
