"""Idempotent producers of one topic partition: is a batch the next, a duplicate, or out of line?

Pure state, rebuilt from batch headers at start. Kafka's KIP-98 keeps the last five batches of each
producer, because a producer may have five requests in flight.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.record_batch import NO_PRODUCER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.infra.broker.record_batch import BatchHeader

_SEQUENCES: Final = 2**31
"""Sequence numbers count from 0 to 2^31 - 1 and start over."""


@dataclass(frozen=True, slots=True)
class KnownBatch:
    """A batch that is in the log."""

    first_sequence: int
    last_sequence: int
    base_offset: int


@dataclass(slots=True)
class ProducerState:
    """What is known of one producer: its epoch and its last batches, oldest first."""

    epoch: int
    last_seen: float
    """Wall clock, in seconds."""
    batches: deque[KnownBatch] = field(default_factory=lambda: deque(maxlen=ProducerState.KEPT))

    KEPT: ClassVar[int] = 5
    """Batches remembered: a producer has at most five requests in flight (KIP-98)."""


class ProducerStates:
    """The producers of one topic partition."""

    def __init__(self) -> None:
        self._states: dict[int, ProducerState] = {}

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[tuple[int, ProducerState]]:
        return iter(self._states.items())

    def restore(self, producer_id: int, state: ProducerState) -> None:
        """Take over a state kept elsewhere (a snapshot)."""
        self._states[producer_id] = state

    def find_duplicate(self, header: BatchHeader) -> KnownBatch | None:
        """The batch in the log that `header` repeats; None when it is the next one.

        Raises RequestRefusedError: 47 for an old epoch, 46 for a repeat too old to know its offset,
        45 for a gap, 59 for a producer that continues a log that never saw it. Kafka takes the
        last one, and so loses what came before without a word when a topic was made anew.
        """
        if header.producer_id == NO_PRODUCER:
            return None
        state = self._states.get(header.producer_id)
        if state is None:
            _require_first(header, ErrorCode.unknown_producer_id)
            return None
        if header.producer_epoch < state.epoch:
            raise RequestRefusedError(
                ErrorCode.invalid_producer_epoch,
                f"producer {header.producer_id} epoch {header.producer_epoch} found, "
                f"{state.epoch} is current",
            )
        if header.producer_epoch > state.epoch:
            _require_first(header, ErrorCode.out_of_order_sequence_number)
            return None
        first, last = header.base_sequence, _last_sequence(header)
        for known in state.batches:
            if (known.first_sequence, known.last_sequence) == (first, last):
                return known
        newest = state.batches[-1].last_sequence
        if first == (newest + 1) % _SEQUENCES:
            return None
        code = ErrorCode.out_of_order_sequence_number
        if (newest - last) % _SEQUENCES < _SEQUENCES // 2:
            code = ErrorCode.duplicate_sequence_number
        raise RequestRefusedError(
            code,
            f"producer {header.producer_id} sent sequences {first}-{last}, {newest} is the last",
        )

    def record(self, header: BatchHeader, base_offset: int, now: float) -> None:
        """Note a batch that is in the log at `base_offset`; `now` is the wall clock in seconds."""
        if header.producer_id == NO_PRODUCER:
            return
        state = self._states.get(header.producer_id)
        if state is None or state.epoch != header.producer_epoch:
            state = self._states[header.producer_id] = ProducerState(header.producer_epoch, now)
        state.last_seen = now
        state.batches.append(KnownBatch(header.base_sequence, _last_sequence(header), base_offset))

    def forget_before(self, wall_clock_seconds: float) -> None:
        """Drop the producers not seen since then (so that their number stays bounded)."""
        stale = [key for key, state in self._states.items() if state.last_seen < wall_clock_seconds]
        for producer_id in stale:
            del self._states[producer_id]


def _last_sequence(header: BatchHeader) -> int:
    return (header.base_sequence + header.record_count - 1) % _SEQUENCES


def _require_first(header: BatchHeader, otherwise: ErrorCode) -> None:
    if header.base_sequence != 0:
        raise RequestRefusedError(
            otherwise,
            f"producer {header.producer_id} starts at sequence {header.base_sequence}, "
            "expected 0: the log it continues is gone",
        )
