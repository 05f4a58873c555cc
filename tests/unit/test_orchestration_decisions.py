"""When a refresh run is asked for, and how long it goes on: over whole days, in no time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.orchestration.calendar import PartitionCalendar
from headrace.orchestration.cron import cron_of, looks_per_run
from headrace.orchestration.linger import Linger
from headrace.orchestration.refresh_request import Asked, load_asked

DAY = 86_400.0
LINGER, REPORT_EVERY = 45.0, 10.0
# What was measured of Dagster: the sensor's look, a run's start, a refresh in a warm process.
LOOK, START, REFRESH = 0.25, 6.0, 0.5


@dataclass
class SimulatedDay:
    """A day of changes, answered by the real decisions in simulated time."""

    changes: Sequence[float]
    fails: bool = False
    linger: float = LINGER
    runs: int = 0
    reports: int = 0
    waits: list[float] = field(default_factory=list)

    def run(self) -> SimulatedDay:
        """Simulate it."""
        now, seen = 0.0, 0
        asked = Asked()
        while True:
            if seen == len(self.changes):
                return self
            # The sensor waits for the next change, and for its turn.
            now = max(now, self.changes[seen])
            arrived = self._arrived(now)
            due = asked.due_at(str(arrived))
            if now < due:
                following = self.changes[arrived] if arrived < len(self.changes) else due
                now = min(due, following)
                continue
            if now > DAY:
                return self
            asked = asked.asked(str(arrived), now)
            self.runs += 1
            now, seen = self._refresh_run(now + START, seen)

    def _arrived(self, now: float) -> int:
        import bisect

        return bisect.bisect_right(self.changes, now)

    def _refresh_run(self, now: float, seen: int) -> tuple[float, int]:
        linger = Linger(now + self.linger, REPORT_EVERY)
        while True:
            step = linger.next(now, moved=self._arrived(now) > seen)
            if step == "refresh":
                if self.fails:
                    return now + REFRESH, seen
                taken, now = self._arrived(now), now + REFRESH
                self.waits += [now - self.changes[n] for n in range(seen, taken)]
                seen = taken
                linger.refreshed()
            elif step == "report":
                self.reports += 1
                linger.reported(now)
            elif step == "end":
                return now, seen
            else:
                now += LOOK


def every(seconds: float) -> list[float]:
    return [n * seconds for n in range(int(DAY / seconds))]


def at_random(count: int) -> list[float]:
    source = random.Random(4)
    return sorted(source.uniform(0, DAY) for _ in range(count))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(every(3), id="each 3 s"),
        pytest.param(every(46), id="each 46 s"),
        pytest.param(every(52), id="each 52 s"),
        pytest.param(every(70), id="each 70 s"),
        pytest.param(at_random(9_000), id="at random"),
    ],
)
def test_a_busy_day_has_fewer_than_2000_runs_and_no_change_waits_long(
    changes: list[float],
) -> None:
    day = SimulatedDay(changes).run()
    assert len(day.waits) == len(changes)
    assert 0 < day.runs < 2_000
    assert max(day.waits) <= START + 2 * REFRESH + LOOK
    assert day.reports <= day.runs * (2 + LINGER / REPORT_EVERY)


def test_a_day_on_which_every_run_fails_has_fewer_than_2000_runs() -> None:
    assert SimulatedDay(every(3), fails=True).run().runs < 2_000


def test_without_lingering_a_day_has_fewer_than_2000_runs_all_the_same() -> None:
    day = SimulatedDay(every(10), linger=0).run()
    assert len(day.waits) == len(every(10))
    assert day.runs < 2_000
    assert max(day.waits) < 60


@given(st.lists(st.floats(0, DAY), min_size=1, max_size=300).map(sorted))
def test_on_any_day_every_change_is_taken_soon_by_no_more_runs_than_changes(
    changes: list[float],
) -> None:
    day = SimulatedDay(changes).run()
    assert len(day.waits) == len(changes)
    assert day.runs <= len(changes)
    assert max(day.waits) <= START + 2 * REFRESH + LOOK


def test_the_same_is_asked_for_again_after_pauses_that_double_to_five_minutes() -> None:
    asked, now, pauses = Asked(), 1_000.0, []
    for _ in range(9):
        asked = asked.asked("a", now)
        due = asked.due_at("a")
        pauses.append(due - now)
        now = due
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_what_moved_on_is_asked_for_at_once() -> None:
    asked = Asked().asked("a", 1_000.0).asked("a", 1_005.0)
    assert asked.due_at("b") <= 1_005.0
    assert asked.asked("b", 1_005.0).times == 1


def test_a_cursor_is_read_back_and_a_strange_one_is_as_none() -> None:
    asked = Asked().asked("a", 1_000.0)
    assert load_asked(asked.dump()) == asked
    for strange in (None, "", "not json", '{"other": 1}', "[1]"):
        assert load_asked(strange) == Asked()


def test_a_run_that_does_not_linger_refreshes_once_and_reports_once() -> None:
    linger = Linger(until=0.0, report_every=10.0)
    assert linger.next(0.0, moved=True) == "refresh"
    linger.refreshed()
    assert linger.next(0.5, moved=True) == "report"
    linger.reported(0.5)
    assert linger.next(0.5, moved=True) == "end"


@pytest.mark.parametrize(
    ("seconds", "cron"),
    [
        (5, "* * * * *"),
        (60, "* * * * *"),
        (300, "*/5 * * * *"),
        (1_800, "*/30 * * * *"),
        (3_600, "0 * * * *"),
        (6 * 3_600, "0 */6 * * *"),
        (86_400, "0 0 * * *"),
        (90, None),
        (7 * 60, None),
        (5 * 3_600, None),
        (2 * 86_400, None),
    ],
)
def test_an_interval_is_a_cron_line_where_cron_can_say_it(seconds: float, cron: str | None) -> None:
    assert cron_of(seconds) == cron


def test_under_a_minute_one_run_looks_more_than_once() -> None:
    assert [looks_per_run(seconds) for seconds in (1, 15, 25, 60, 90)] == [60, 4, 2, 1, 1]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_partitions_go_to_today_inclusive_and_dates_outside_are_none() -> None:
    calendar = PartitionCalendar(date(2024, 2, 10), "UTC", lambda: at("2024-05-03T23:59"))
    assert calendar.today == date(2024, 5, 3)
    keys = calendar.daily.get_partition_keys(at("2024-05-03T23:59"))
    assert (keys[0], keys[-1]) == ("2024-02-10", "2024-05-03")
    months = calendar.monthly.get_partition_keys(at("2024-05-03T23:59"))
    assert (months[0], months[-1]) == ("2024-02-01", "2024-05-01")
    assert [calendar.place(date(2024, m, d)) for m, d in ((2, 9), (2, 10), (5, 3), (5, 4))] == [
        "before",
        "within",
        "within",
        "ahead",
    ]
    assert calendar.place(date(2024, 2, 1)) == "before"
    assert calendar.place(date(2024, 2, 1), monthly=True) == "within"


def test_the_day_begins_where_it_begins_first() -> None:
    tokyo = PartitionCalendar(date(2024, 1, 1), "Asia/Tokyo", lambda: at("2024-05-03T15:30"))
    assert tokyo.today == date(2024, 5, 4)
