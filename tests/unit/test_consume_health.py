"""When consume is not well, and why."""

from __future__ import annotations

import pytest

from headrace.consumers.health import ConsumeHealth


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> ConsumeHealth:
    health = ConsumeHealth(clock)
    health.joined()
    return health


def test_it_is_not_well_before_it_is_a_member(clock: Clock) -> None:
    health = ConsumeHealth(clock)
    assert health.trouble() == "it has not joined its consumer group yet"
    health.joined()
    assert health.trouble() is None


def test_a_broker_may_be_silent_for_a_while(clock: Clock, health: ConsumeHealth) -> None:
    clock.now += 30
    assert health.trouble() is None
    clock.now += 1
    assert health.trouble() == "the broker has not answered for 31 s"
    health.answered()
    assert health.trouble() is None


def test_a_batch_may_wait_for_a_while(clock: Clock, health: ConsumeHealth) -> None:
    with health.writing("sales"):
        health.write_failed("sales", "no space left on the disk")
        clock.now += 31
        health.answered()
        assert health.trouble() == (
            "bronze.sales could not be written for 31 s: no space left on the disk"
        )
    assert health.trouble() is None


def test_a_commit_that_hangs_is_trouble_too(clock: Clock, health: ConsumeHealth) -> None:
    with health.writing("sales"):
        clock.now += 40
        health.answered()
        trouble = health.trouble()
    assert trouble is not None
    assert trouble.endswith("40 s: the lake or the broker does not answer")


def test_an_error_of_the_last_batch_is_forgotten_with_it(
    clock: Clock, health: ConsumeHealth
) -> None:
    with health.writing("sales"):
        health.write_failed("sales", "full")
    health.write_failed("sales", "late")
    with health.writing("sales"):
        clock.now += 31
        health.answered()
        assert "full" not in (health.trouble() or "")
        assert "late" not in (health.trouble() or "")


def test_who_has_nothing_to_do_is_well(clock: Clock) -> None:
    health = ConsumeHealth(clock)
    health.idle()
    clock.now += 1_000
    assert health.trouble() is None
