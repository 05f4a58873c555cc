"""Records as they go on the topic: with CloudEvents headers, in record batches under a limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from headrace.event import (
    JSON_CONTENT_TYPE,
    RAW_CONTENT_TYPE,
    UNREADABLE_TYPE,
    format_time,
    record_headers,
)
from headrace.producers.files.unreadable import KEPT_BYTES

if TYPE_CHECKING:
    from headrace.producers.files.records import RecordBatch

# Above a record's value: the batch's header (61 bytes), the record's own lengths, all headers but
# `ce_readerror`, whose names and values are short and of known length.
_OVERHEAD_BYTES: Final = 512
_MAX_ERROR_BYTES: Final = 1_000

_Header = tuple[str, bytes]


class BatchBuilder(Protocol):
    """aiokafka's builder of one record batch; `append` answers None where it is full."""

    def append(
        self,
        *,
        timestamp: int,
        key: bytes | None,
        value: bytes,
        headers: Sequence[_Header],
    ) -> object | None:
        """Add one record."""

    def record_count(self) -> int:
        """Records so far."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all records of a delivery share. `payload`: its bytes' path within the project."""

    delivery_id: str
    source: str
    payload: str


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A full record batch: records up to `next_number`, of which so many are unreadable."""

    builder: BatchBuilder
    next_number: int
    unreadable: int


class RecordEncoder:
    """Encodes a delivery's records; `max_message_bytes` is the broker's limit on a batch.

    `on_place()` is called before the first record goes as its place in the payload alone.
    """

    def __init__(
        self,
        envelope: Envelope,
        new_batch: Callable[[], BatchBuilder],
        max_message_bytes: int,
        on_place: Callable[[], None] = lambda: None,
    ) -> None:
        self._envelope = envelope
        self._new_batch = new_batch
        self._limit = max_message_bytes
        self._shared = record_headers(source=envelope.source)
        self._id_prefix = f"{envelope.delivery_id}:".encode()
        self._on_place = on_place
        self._placed = False
        self._open = new_batch()
        self._timestamp = _now_ms()
        self._unreadable = 0

    def encode(self, records: Iterable[RecordBatch]) -> Iterator[EncodedBatch]:
        """Fill batches in record order; blocking, at about 2 microseconds a record."""
        number = 0
        for batch in records:
            number = batch.first_number
            if batch.errors is None:
                yield from self._readable(number, batch.values, batch.event_times)
            else:
                for offset, (value, moment, error) in enumerate(
                    zip(batch.values, batch.event_times, batch.errors, strict=True)
                ):
                    yield from self._flawed(number + offset, value, moment, error)
            number += len(batch.values)
        if self._open.record_count():
            yield EncodedBatch(self._open, number, self._unreadable)

    def _readable(
        self, first_number: int, values: Sequence[bytes], event_times: Sequence[datetime | None]
    ) -> Iterator[EncodedBatch]:
        shared, prefix, limit = self._shared, self._id_prefix, self._limit - _OVERHEAD_BYTES
        append, timestamp = self._open.append, self._timestamp
        last_moment: datetime | None = None
        last_header: _Header = ("ce_time", b"")
        for number, (value, moment) in enumerate(
            zip(values, event_times, strict=True), start=first_number
        ):
            if len(value) > limit:
                yield from self._flawed(number, value, moment, None)
                append, timestamp = self._open.append, self._timestamp
                continue
            headers = [*shared, ("ce_id", b"%s%d" % (prefix, number))]
            if moment is not None:
                # Times often repeat from record to record; formatting them is what costs.
                if moment != last_moment:
                    last_moment, last_header = moment, ("ce_time", format_time(moment).encode())
                headers.append(last_header)
            if append(timestamp=timestamp, key=None, value=value, headers=headers) is None:
                yield self._close(number)
                append, timestamp = self._open.append, self._timestamp
                append(timestamp=timestamp, key=None, value=value, headers=headers)

    def _flawed(
        self, number: int, value: bytes, moment: datetime | None, error: str | None
    ) -> Iterator[EncodedBatch]:
        """A record that could not be read (`error` says why), or one over the message limit."""
        content_type = RAW_CONTENT_TYPE
        error_bytes = min(_MAX_ERROR_BYTES, self._limit // 4)
        text = _shorten(error or "", error_bytes)
        if len(value) > self._limit - _OVERHEAD_BYTES - len(text.encode()):
            if not self._placed:
                self._on_place()
                self._placed = True
            place: dict[str, str | int] = {
                "payload": self._envelope.payload,
                "record_number": number,
            }
            size = f"{len(value)} bytes"
            if error is not None and len(value) >= KEPT_BYTES:
                size = f"at least {size}"  # of an unreadable record no more is kept
            else:
                place["size_bytes"] = len(value)
            over = f"record of {size} is over the limit of {self._limit}; see its place"
            text = _shorten(f"{over}: {error}" if error else over, error_bytes)
            value = orjson.dumps(place)
            content_type = JSON_CONTENT_TYPE
        headers = record_headers(
            source=self._envelope.source,
            event_type=UNREADABLE_TYPE,
            content_type=content_type,
            read_error=text,
        )
        headers.append(("ce_id", b"%s%d" % (self._id_prefix, number)))
        if moment is not None:
            headers.append(("ce_time", format_time(moment).encode()))
        if not self._append(value, headers):
            yield self._close(number)
            self._append(value, headers)
        self._unreadable += 1

    def _append(self, value: bytes, headers: Sequence[_Header]) -> bool:
        added = self._open.append(timestamp=self._timestamp, key=None, value=value, headers=headers)
        return added is not None

    def _close(self, next_number: int) -> EncodedBatch:
        full = EncodedBatch(self._open, next_number, self._unreadable)
        self._open = self._new_batch()
        # The topic's timestamps are the time of publishing: retention goes by them.
        self._timestamp = _now_ms()
        self._unreadable = 0
        return full


def _now_ms() -> int:
    return int(time.time() * 1_000)


def _shorten(text: str, limit_bytes: int) -> str:
    return text.encode()[:limit_bytes].decode(errors="ignore")
