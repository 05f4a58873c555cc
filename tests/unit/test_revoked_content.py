"""Content that was revoked stays out until it is accepted again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.producers.delivery import IdentityBy, Origin
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived
from support.intake_project import IntakeProject


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def page(project: IntakeProject, content: str) -> Receipt:
    """An API's answer: always of one name, and no file."""
    draft = project.spool.draft_bytes("sales", content.encode())
    arrived = Arrived("GET /items", Origin("", 0, 0, 0), draft, IdentityBy.CONTENT)
    (receipt,) = project.receiving.receive("sales", "sales", [arrived])
    return receipt


def revoke(project: IntakeProject, delivery_id: str) -> None:
    project.spool.revoke("sales", delivery_id)
    project.ledger.revoke([delivery_id])


def accept(project: IntakeProject, delivery_id: str) -> str:
    row = project.ledger.delivery(delivery_id)
    return project.receiving.take_again(row, "sales").identity.delivery_id


def test_what_came_before_it_does_not_accept_a_revoked_page_again(project: IntakeProject) -> None:
    _, _, third = (page(project, content).identity.delivery_id for content in "ABA")
    revoke(project, third)
    for content in "ABA":
        assert page(project, content).goes_on is False
    assert page(project, "A").duplicate_of == third


def test_a_revoked_file_that_is_touched_stays_out_though_it_once_was_so(
    project: IntakeProject,
) -> None:
    for content in "ABA":
        path = project.drop("a.csv", content)
        project.take()
    third = project.rows()[-1].delivery_id
    revoke(project, third)
    os.utime(path, (1, 1))
    project.take()
    assert [(row.state, row.duplicate_of) for row in project.rows()[2:]] == [
        ("revoked", None),
        ("duplicate", third),
    ]


def test_an_earlier_one_that_is_read_anew_does_not_accept_it_again_either(
    project: IntakeProject,
) -> None:
    first, _, third = (page(project, content).identity.delivery_id for content in "ABA")
    revoke(project, third)
    accept(project, first)
    revoke(project, first)
    assert page(project, "A").duplicate_of == third


def test_once_it_is_accepted_again_it_counts_as_any_other(project: IntakeProject) -> None:
    first, _, third = (page(project, content).identity.delivery_id for content in "ABA")
    revoke(project, third)
    again = accept(project, third)
    revoke(project, again)
    latest = accept(project, again)
    assert page(project, "A").duplicate_of == latest
    assert page(project, "C").goes_on
    assert page(project, "A").goes_on
    assert first < third < latest
