"""Record batches as clients make them, for the embedded broker's log alone."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from headrace.infra.broker.log import PartitionLog
from headrace.infra.broker.record_batch import check_batch, iter_headers


def batch(
    values: list[bytes],
    *,
    timestamps: list[int] | None = None,
    codec: int = 0,
    producer: tuple[int, int, int] = (-1, -1, -1),
) -> bytes:
    """A record batch as a client makes it; producer is (id, epoch, first sequence)."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, *producer, 1_000_000)
    for delta, value in enumerate(values):
        builder.append(delta, (timestamps or [1_000] * len(values))[delta], None, value, [])
    return bytes(builder.build())


def put(log: PartitionLog, records: bytes) -> int:
    """Append a batch; the offset of its first record."""
    return log.append(check_batch(records, 1_000_000), records)


def batches_of(log: PartitionLog) -> list[tuple[int, bytes]]:
    """(base offset, everything behind it) of each batch a log serves."""
    found: list[tuple[int, bytes]] = []
    offset = log.start_offset
    while offset < log.next_offset:
        data = log.read(offset, 700, at_least_one=True)
        found += [(h.base_offset, data[p + 8 : p + h.size]) for p, h in iter_headers(data)]
        *_, (_, last) = iter_headers(data)
        assert last.next_offset > offset
        offset = last.next_offset
    return found
