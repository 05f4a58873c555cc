"""When a source is looked at, and at what."""

from __future__ import annotations

import pytest

from headrace.producers.folders import look_agenda
from headrace.producers.folders.look_agenda import DEBOUNCE_SECONDS, Due, LookAgenda, settles_in

NOW = 1_000.0


@pytest.fixture
def agenda() -> LookAgenda:
    """After its first look, which took no time: the next one at everything is in 30 s."""
    agenda = LookAgenda(30.0)
    assert agenda.due(NOW) is not None
    agenda.scanned(0.0, NOW)
    return agenda


def look_at(*names: str, complete: tuple[str, ...] = ()) -> Due:
    return Due(False, frozenset(names), frozenset(complete))


def test_everything_is_looked_at_first_and_then_now_and_then() -> None:
    agenda = LookAgenda(30.0)
    assert agenda.due(NOW) == Due(True, frozenset(), frozenset())
    assert agenda.due(NOW) is None
    agenda.scanned(0.01, NOW)
    assert agenda.next_at == NOW + 30
    assert agenda.due(NOW + 29.9) is None
    assert agenda.due(NOW + 30) == Due(True, frozenset(), frozenset(), unasked=True)


def test_a_burst_is_one_look(agenda: LookAgenda) -> None:
    for number in range(3):
        agenda.heard_written(f"{number}.csv", NOW + number / 100)
    assert agenda.next_at == NOW + DEBOUNCE_SECONDS
    assert agenda.due(NOW + 0.01) is None
    assert agenda.due(NOW + 0.08) == look_at("0.csv", "1.csv", "2.csv")
    assert agenda.due(NOW + 0.08) is None


def test_one_who_keeps_writing_does_not_put_the_look_off(agenda: LookAgenda) -> None:
    for number in range(100):
        agenda.heard_written("a.csv", NOW + number / 1_000)
    assert agenda.due(NOW + DEBOUNCE_SECONDS) == look_at("a.csv")


def test_one_who_keeps_writing_is_looked_at_once_a_settling_time(agenda: LookAgenda) -> None:
    agenda.settles("a.csv", NOW + 2)
    agenda.heard_written("a.csv", NOW + 1)
    assert agenda.next_at == NOW + 2


def test_a_file_renamed_into_place_need_not_settle(agenda: LookAgenda) -> None:
    agenda.settles("a.csv", NOW + 2)
    agenda.heard_complete("a.csv", NOW)
    agenda.heard_complete("b.csv", NOW)
    agenda.heard_written("c.csv", NOW)
    assert agenda.due(NOW + DEBOUNCE_SECONDS) == look_at(
        "a.csv", "b.csv", "c.csv", complete=("a.csv", "b.csv")
    )


def test_a_file_written_after_its_rename_has_to_settle(agenda: LookAgenda) -> None:
    agenda.heard_complete("a.csv", NOW)
    agenda.heard_written("a.csv", NOW + 0.01)
    assert agenda.due(NOW + DEBOUNCE_SECONDS) == look_at("a.csv")


def test_what_is_complete_is_known_to_the_look_at_everything_too(agenda: LookAgenda) -> None:
    agenda.heard_complete("a.csv", NOW)
    agenda.settles("b.csv", NOW + 60)
    due = agenda.due(NOW + 30)
    assert due == Due(True, frozenset({"a.csv", "b.csv"}), frozenset({"a.csv"}), unasked=True)
    assert agenda.next_at == float("inf")


def test_a_new_folder_is_a_reason_to_look_at_everything(agenda: LookAgenda) -> None:
    agenda.heard_of_folder(NOW)
    assert agenda.due(NOW + DEBOUNCE_SECONDS) == Due(True, frozenset(), frozenset())


def test_what_is_heard_during_a_look_is_not_lost(agenda: LookAgenda) -> None:
    agenda.heard_of_folder(NOW)
    assert agenda.due(NOW + 1) is not None
    agenda.heard_of_folder(NOW + 1.1)
    agenda.heard_complete("a.csv", NOW + 1.1)
    agenda.scanned(0.2, NOW + 1.2)
    assert agenda.holds("a.csv")
    assert agenda.due(NOW + 1.2) == look_at("a.csv", complete=("a.csv",))
    assert agenda.due(NOW + 1.2 + 2) is not None


def test_looking_takes_at_most_a_tenth_of_the_time(agenda: LookAgenda) -> None:
    polled = LookAgenda(1.0)
    polled.due(NOW)
    polled.scanned(4.0, NOW)
    assert polled.next_at == NOW + 40
    polled.heard_of_folder(NOW)
    assert polled.next_at == NOW + 40
    polled.heard_written("a.csv", NOW)
    assert polled.next_at == NOW + DEBOUNCE_SECONDS


def test_an_absent_folder_is_looked_for_each_second(agenda: LookAgenda) -> None:
    agenda.heard_complete("a.csv", NOW)
    agenda.scanned(50.0, NOW)
    agenda.absent(NOW)
    assert agenda.next_at == NOW + 1
    assert agenda.due(NOW + 1) == Due(True, frozenset(), frozenset())


def test_more_names_than_can_be_kept_are_a_look_at_everything(
    agenda: LookAgenda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_agenda, "_MAX_NAMES", 2)
    for name in "abcd":
        agenda.heard_complete(name, NOW)
    assert agenda.due(NOW + DEBOUNCE_SECONDS) == Due(
        True, frozenset({"a", "b"}), frozenset({"a", "b"})
    )
    for name in "abcd":
        agenda.settles(name, NOW + 7)
    agenda.scanned(0.0, NOW + 1)
    assert agenda.next_at == NOW + 7


def test_what_is_appended_is_gathered_for_a_while() -> None:
    agenda = LookAgenda(30.0, gather_seconds=2.0)
    agenda.due(NOW)
    agenda.scanned(0.0, NOW)
    for tenth in range(30):
        agenda.heard_written("a.log", NOW + tenth / 10)
    agenda.heard_complete("b.log", NOW + 3)
    assert agenda.next_at == NOW + 2
    assert agenda.due(NOW + 2) == look_at("a.log")
    agenda.heard_of_folder(NOW + 2.5)
    assert agenda.next_at == NOW + 4.5


@pytest.mark.parametrize(
    ("age", "settle", "expected"),
    [(0.0, 2.0, 2.0), (1.5, 2.0, 0.5), (5.0, 2.0, 0.0), (0.0, 0.0, 0.0), (-1.0, 2.0, 3.0)],
)
def test_a_file_settles_when_it_has_been_unchanged_for_long_enough(
    age: float, settle: float, expected: float
) -> None:
    now_ns = 10**18
    assert settles_in(now_ns - int(age * 1e9), now_ns, settle) == pytest.approx(expected)
