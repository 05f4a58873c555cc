"""Idempotent producers: every batch once, whatever is sent again or lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.producers import ProducerStates
from headrace.infra.broker.record_batch import BatchHeader


def header(sequence: int, count: int = 1, *, producer: int = 5, epoch: int = 0) -> BatchHeader:
    return BatchHeader(0, 49 + count, 0, 2, 0, 0, count - 1, 0, 0, producer, epoch, sequence, count)


def code_of(states: ProducerStates, sent: BatchHeader) -> ErrorCode:
    with pytest.raises(RequestRefusedError) as refused:
        states.find_duplicate(sent)
    return refused.value.code


def after(*sequences: int, epoch: int = 0) -> ProducerStates:
    states = ProducerStates()
    for offset, sequence in enumerate(sequences):
        states.record(header(sequence, epoch=epoch), 100 + offset, now=0.0)
    return states


def test_a_repeated_batch_is_known_with_its_offset() -> None:
    known = after(0, 1, 2).find_duplicate(header(1))
    assert known is not None
    assert known.base_offset == 101


def test_the_next_batch_is_new() -> None:
    assert after(0, 1, 2).find_duplicate(header(3)) is None


def test_a_batch_without_producer_is_always_new() -> None:
    assert after(0).find_duplicate(header(-1, producer=-1, epoch=-1)) is None


def test_a_gap_is_refused() -> None:
    assert code_of(after(0, 1), header(3)) is ErrorCode.out_of_order_sequence_number


def test_a_repeat_too_old_to_know_its_offset_is_told_apart() -> None:
    states = after(*range(9))
    assert code_of(states, header(0)) is ErrorCode.duplicate_sequence_number
    assert states.find_duplicate(header(4)) is not None


def test_a_repeat_that_is_not_the_same_batch_is_refused() -> None:
    assert code_of(after(0, 1), header(1, 2)) is ErrorCode.out_of_order_sequence_number


def test_an_old_epoch_is_refused_and_a_new_one_starts_at_zero() -> None:
    states = after(0, epoch=3)
    assert code_of(states, header(1, epoch=2)) is ErrorCode.invalid_producer_epoch
    assert code_of(states, header(1, epoch=4)) is ErrorCode.out_of_order_sequence_number
    assert states.find_duplicate(header(0, epoch=4)) is None


def test_a_producer_that_outlived_its_log_is_refused() -> None:
    assert code_of(ProducerStates(), header(17)) is ErrorCode.unknown_producer_id


def test_sequences_go_on_at_zero_after_the_largest() -> None:
    states = ProducerStates()
    states.record(header(2**31 - 2, 2), 0, now=0.0)
    assert states.find_duplicate(header(0)) is None
    states.record(header(0), 2, now=0.0)
    assert states.find_duplicate(header(2**31 - 2, 2)) is not None


def test_the_silent_are_forgotten() -> None:
    states = after(0)
    states.forget_before(-1.0)
    assert len(states) == 1
    states.forget_before(1.0)
    assert len(states) == 0


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    tries=st.lists(st.integers(0, 11), max_size=60),
)
def test_any_order_of_sending_gives_the_batches_once_and_in_order(
    counts: list[int], tries: list[int]
) -> None:
    starts = [sum(counts[:place]) for place in range(len(counts))]
    states = ProducerStates()
    log: list[int] = []
    for place in (*(t % len(counts) for t in tries), *range(len(counts))):
        sent = header(starts[place], counts[place])
        try:
            if states.find_duplicate(sent) is not None:
                continue
        except RequestRefusedError as refused:
            late = refused.code is ErrorCode.duplicate_sequence_number
            assert late == (place < len(log) - 5 and bool(log))
            continue
        states.record(sent, len(log), now=0.0)
        log.append(place)
    assert log == list(range(len(counts)))
