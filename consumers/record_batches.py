"""Record batches as they come, whoever wrote them: each offset of theirs gives one record.

aiokafka stops for good at a record whose header name is not UTF-8, whose structure is broken or
whose batch cannot be decompressed, and passes over one whose offset does not ascend. A broker
checks none of this. Here such a batch is decoded a second time, record by record: what can be read
is, and what cannot is handed on as its raw bytes with `ce_type` `headrace.unreadable.v1`. Only a
batch whose checksum does not hold is no batch: it stops whoever reads it, with its place.

`read_any_batch` puts this in aiokafka's place. `MemoryRecords` and `PartitionRecords` are names of
its fetcher, not of its public interface: pinned in pyproject.toml, looked for when it is called.
Format: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, Final

import cramjam
import structlog
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.memory_records import MemoryRecords

from headrace.errors import BrokerError
from headrace.event import UNREADABLE_TYPE

log = structlog.get_logger("consume")

_LENGTH: Final = struct.Struct(">8xi")
_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_MAGIC_AT: Final = 16
_APPEND_TIME: Final = 0x08
_CODEC: Final = 0x07
_DECODERS: Final = {
    0: bytes,
    1: codec.gzip_decode,
    2: codec.snappy_decode,
    3: codec.lz4_decode,
    4: codec.zstd_decode,
}
_VARINT_BITS: Final = 70
# What the decoders raise at bytes that are none of theirs.
_UNDECODABLE: Final = (
    cramjam.DecompressionError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    KafkaError,
)


class DamagedLogError(CorruptRecordException):  # type: ignore[misc]
    """A batch is not what was written: its checksum does not hold."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"the batch at offset {offset} of {topic}-{partition} is damaged")
        self.topic = topic
        self.partition = partition
        self.offset = offset

    def failure(self) -> BrokerError:
        """What to say of it to the user."""
        return BrokerError(
            f"topic {self.topic}, partition {self.partition}: the batch at offset {self.offset} is"
            " damaged, its checksum does not hold",
            remedy="nothing behind it is taken. Put the broker's data back as it was; or delete the"
            " topic (of the embedded broker: .headrace/broker, while nothing runs): deliveries are"
            " then published again from the spool, other producers have to send theirs again",
        )


@dataclass(frozen=True, slots=True)
class LooseRecord:
    """A record as aiokafka's own; header names may hold surrogate escapes."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    checksum: None = None


def read_any_batch() -> None:
    """Let every consumer of this process read batches as described above.

    Raises `BrokerError` where aiokafka is another one than was built for.
    """
    for name in ("MemoryRecords", "PartitionRecords"):
        if not hasattr(fetcher, name):
            raise BrokerError(
                f"this version of aiokafka is another one: its fetcher has no {name}",
                remedy="install the version that headrace asks for: pip install -U headrace",
            )
    fetcher.MemoryRecords = AnyRecords
    fetcher.PartitionRecords = PlacedRecords


class PlacedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's, but damage is told with its place."""

    def __next__(self) -> Any:
        """The next record. Raises `DamagedLogError`."""
        try:
            return super().__next__()
        except CorruptRecordException as error:
            tp = self._tp
            raise DamagedLogError(tp.topic, tp.partition, self.next_fetch_offset) from error


class AnyRecords:
    """What a fetch brought of one topic partition: `MemoryRecords`, whose batches never fail."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._position = 0

    def size_in_bytes(self) -> int:
        """Bytes fetched."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Whether there is another whole batch."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """The next batch; one of a format older than v2 as aiokafka reads it."""
        start = self._position
        (length,) = _LENGTH.unpack_from(self._data, start)
        self._position = start + _LENGTH.size + length
        batch = self._records.next_batch()
        if self._data[start + _MAGIC_AT] < 2:
            return batch
        return AnyBatch(batch, self._data[start : self._position])


class AnyBatch:
    """A batch of format v2: aiokafka's decoding where it works, else ours."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data
        self.base_offset: int = batch.base_offset
        self.next_offset: int = batch.next_offset
        self.producer_id: int = batch.producer_id
        self.is_control_batch: bool = batch.is_control_batch
        self.is_transactional: bool = batch.is_transactional

    def validate_crc(self) -> bool:
        """Whether it is what was written."""
        return bool(self._batch.validate_crc())

    def __next__(self) -> Any:
        """The first record of a transaction's marker."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        """Its records, in offset order."""
        try:
            records = list(self._batch)
        except _UNDECODABLE as error:
            why = str(error) or type(error).__name__
            log.warning("batch_decoded_loosely", offset=self.base_offset, why=why)
        else:
            if _ascend([r.offset for r in records], self.base_offset, self.next_offset):
                return iter(records)
            log.warning("batch_decoded_loosely", offset=self.base_offset, why="its offsets jump")
        return iter(decode_loosely(bytes(self._data)))


def _ascend(offsets: list[int], first: int, end: int) -> bool:
    if offsets == list(range(first, end)):  # but for compacted logs always so, and quick
        return True
    if offsets and not first <= offsets[0] <= offsets[-1] < end:
        return False
    return all(one < other for one, other in pairwise(offsets))


def decode_loosely(data: bytes) -> list[LooseRecord]:
    """Every record of a batch of format v2; what cannot be read as its raw bytes.

    Gives as many records as the batch says it holds, or the rest of it as the last one where it
    says more than there are; offsets ascend within those that the batch takes up.
    """
    head = _HEAD.unpack_from(data)
    base_offset, attributes, last_delta, first_time, max_time, said = (
        head[i] for i in (0, 5, 6, 7, 8, 12)
    )
    payload = data[_HEAD.size :]
    stamp = max_time if attributes & _APPEND_TIME else None
    try:
        payload = _DECODERS[attributes & _CODEC](payload)
    except _UNDECODABLE as error:
        why = f"its batch cannot be decompressed: {str(error) or type(error).__name__}"
        return [_unreadable(base_offset, max_time, payload, why)]
    number = min(max(said, 1), last_delta + 1)
    records: list[LooseRecord] = []
    position, next_delta = 0, 0
    for index in count():
        if index == number:
            break
        delta = next_delta
        try:
            start, end = _extent(payload, position)
        except (ValueError, IndexError) as error:
            # Nobody can say where the next one would begin.
            records.append(
                _unreadable(base_offset + delta, max_time, payload[position:], str(error))
            )
            break
        raw, position = payload[start:end], end
        try:
            wanted, record = _decode(raw, first_time)
        except (ValueError, IndexError) as error:
            record = _unreadable(0, max_time, raw, str(error))
        else:
            # As far as the offset leaves room for those before and after it.
            if next_delta <= wanted <= last_delta - (number - index - 1):
                delta = wanted
        timestamp = record.timestamp if stamp is None else stamp
        records.append(
            LooseRecord(
                base_offset + delta,
                timestamp,
                int(stamp is not None),
                record.key,
                record.value,
                record.headers,
            )
        )
        next_delta = delta + 1
    return records


def _extent(payload: bytes, position: int) -> tuple[int, int]:
    """Where the bytes of the record at a position begin and end."""
    length, start = _varint(payload, position)
    if not 0 < length <= len(payload) - start:
        raise ValueError(f"a record of {length} bytes among {len(payload) - start}")
    return start, start + length


def _unreadable(offset: int, timestamp: int, raw: bytes, why: str) -> LooseRecord:
    headers = (
        ("ce_type", UNREADABLE_TYPE.encode()),
        ("ce_readerror", f"not a Kafka record: {why}".encode(errors="replace")),
    )
    return LooseRecord(offset, timestamp, 0, None, raw, headers)


def _decode(raw: bytes, first_time: int) -> tuple[int, LooseRecord]:
    """A record's offset delta, and the record without its offset, from all the bytes it takes."""
    time_delta, at = _varint(raw, 1)  # after the attributes, which nobody uses
    offset_delta, at = _varint(raw, at)
    key, at = _bytes(raw, at)
    value, at = _bytes(raw, at)
    header_count, at = _varint(raw, at)
    if not 0 <= header_count <= len(raw):
        raise ValueError(f"{header_count} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(header_count):
        name, at = _bytes(raw, at)
        if name is None:
            raise ValueError("a header without a name")
        content, at = _bytes(raw, at)
        headers.append((name.decode(errors="surrogateescape"), content))
    if at != len(raw):
        raise ValueError(f"{len(raw) - at} bytes too many")
    return offset_delta, LooseRecord(0, first_time + time_delta, 0, key, value, tuple(headers))


def _bytes(raw: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = _varint(raw, at)
    if length < 0:
        return None, at
    if at + length > len(raw):
        raise ValueError(f"a field of {length} bytes among {len(raw) - at}")
    return raw[at : at + length], at + length


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint and the position after it. Raises `IndexError` or `ValueError`."""
    number = shift = 0
    while True:
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        if shift >= _VARINT_BITS:
            raise ValueError("a number without end")
