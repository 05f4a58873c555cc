"""First halves whose whole came under another name; what only looks like one stays."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.producers.delivery import BronzeVersion, DeliveryRow, FrozenReading, RecordCount
from headrace.producers.halves import Halves
from support.intake_project import IntakeProject


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def land(project: IntakeProject, name: str, content: str) -> DeliveryRow:
    """Have a file taken; what is new of it is in bronze then."""
    project.drop(name, content)
    project.take()
    row = project.rows()[-1]
    if row.state == "received":
        project.ledger.freeze(row.delivery_id, FrozenReading("{}", 0, "sales"))
        project.ledger.published(row.delivery_id, RecordCount(1, 0), 0)
        project.ledger.land([row.delivery_id], BronzeVersion("bronze", 1), datetime.now(UTC))
    return row


def halves(project: IntakeProject) -> list[str]:
    return [half.delivery_id for half in Halves(project.ledger, project.spool).find()]


def test_a_half_is_found_when_its_whole_came_under_another_name(project: IntakeProject) -> None:
    half = land(project, "daily.csv", "1\n")
    land(project, "other.csv", "1\n2\n")
    assert halves(project) == []
    land(project, "daily.csv", "1\n2\n")
    assert halves(project) == [half.delivery_id]


@pytest.mark.parametrize("revoked", [False, True])
def test_what_another_content_came_after_is_no_half(project: IntakeProject, revoked: bool) -> None:
    land(project, "daily.csv", "1\n")
    between = land(project, "daily.csv", "7\n")
    land(project, "other.csv", "1\n2\n")
    land(project, "daily.csv", "1\n2\n")
    if revoked:  # later, by somebody who thinks of that one alone
        project.spool.revoke("sales", between.delivery_id)
        project.ledger.revoke([between.delivery_id])
    assert halves(project) == []


def test_a_rejected_version_in_between_leaves_it_a_half(project: IntakeProject) -> None:
    half = land(project, "daily.csv", "1\n")
    project.drop("daily.csv", "1\nbad\n")
    project.take()
    project.ledger.reject(project.rows()[-1].delivery_id, "bad", "config")
    land(project, "other.csv", "1\n2\n")
    land(project, "daily.csv", "1\n2\n")
    assert halves(project) == [half.delivery_id]


def test_what_is_read_anew_is_a_half_where_it_was_one(project: IntakeProject) -> None:
    first = land(project, "daily.csv", "1\n")
    again = project.receiving.take_again(first, "sales").identity.delivery_id
    project.ledger.revoke([first.delivery_id])
    land(project, "other.csv", "1\n2\n")
    land(project, "daily.csv", "1\n2\n")
    assert halves(project) == [again]
