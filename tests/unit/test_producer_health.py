"""When a producer that stays says that it does not do its work."""

from __future__ import annotations

from headrace.producers.health import why_unwell

NOW = 10_000.0


def unwell(
    *,
    looked_at: float | None = NOW,
    every: float = 30.0,
    broker: str | None = None,
    lake: float | None = None,
) -> str | None:
    return why_unwell(
        NOW, {"sales": looked_at}, every, broker_lost=broker, lake_unreadable_since=lake
    )


def test_all_is_well() -> None:
    assert unwell() is None
    assert why_unwell(NOW, {}, 30.0, broker_lost=None, lake_unreadable_since=None) is None


def test_what_is_wrong_is_said() -> None:
    assert unwell(broker="no answer") == "the broker is lost: no answer"
    assert unwell(lake=NOW - 12) == "the lake cannot be read for 12 s"
    assert unwell(looked_at=None) == "source sales has not been looked at yet"
    assert unwell(looked_at=NOW - 400) == "source sales was last looked at 400 s ago"


def test_late_is_by_how_often_it_looks() -> None:
    assert unwell(looked_at=NOW - 400, every=3_600.0) is None
