"""The one gate, where names tell deliveries apart: equal contents do not stand for each other."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.producers.decisions import standing_for
from headrace.producers.delivery import IdentityBy, Origin
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived
from support.intake_project import SOURCE, IntakeProject


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def call(project: IntakeProject, name: str, by: IdentityBy = IdentityBy.NAME) -> Receipt:
    """A call of a webhook; all have the same body."""
    draft = project.spool.draft_bytes("sales", b'{"event": "ping"}')
    arrived = Arrived(name, Origin("", 0, 0, 0), draft, by)
    (receipt,) = project.receiving.receive("sales", "sales", [arrived])
    return receipt


@pytest.mark.parametrize("by", [IdentityBy.NAME, IdentityBy.NAME_AND_CONTENT])
def test_what_was_revoked_stays_out_though_another_has_its_content(
    project: IntakeProject, by: IdentityBy
) -> None:
    revoked = call(project, "one", by).identity.delivery_id
    call(project, "two", by)
    project.ledger.revoke([revoked])
    assert call(project, "one", by).duplicate_of == revoked
    assert call(project, "three", by).goes_on


def test_a_revoked_file_that_is_touched_stays_out_though_another_has_its_content(
    project: IntakeProject,
) -> None:
    source = SOURCE.model_copy(update={"identity": "name+content"})
    path = project.drop("a.csv", "item\n1\n")
    project.drop("b.csv", "item\n1\n")
    project.take(source)
    project.ledger.revoke([row.delivery_id for row in project.rows() if row.name == "a.csv"])
    os.utime(path, (1, 1))
    project.take(source)
    assert project.states() == [
        ("a.csv", "revoked"),
        ("b.csv", "received"),
        ("a.csv", "duplicate"),
    ]


def test_another_of_the_same_content_does_not_stand_for_a_revoked_one(
    project: IntakeProject,
) -> None:
    revoked = call(project, "one").identity.delivery_id
    call(project, "two")
    project.ledger.revoke([revoked])
    row = project.ledger.delivery(revoked)
    assert standing_for(row, project.ledger.related(row)) is None
    again = project.receiving.take_again(row, "sales").identity.delivery_id
    standing = standing_for(row, project.ledger.related(row))
    assert standing is not None
    assert standing.delivery_id == again
    assert call(project, "one").duplicate_of == again


@pytest.mark.parametrize("by", IdentityBy)
def test_a_call_with_a_name_takes_no_equal_ones_place_that_a_former_ledger_had(
    project: IntakeProject, by: IdentityBy
) -> None:
    other = IntakeProject(project.root / "other")
    former = call(other, "one").identity.delivery_id
    project.ledger.inherit("sales", [(former, "sales")])
    expected = None if by is IdentityBy.NAME else former
    assert call(project, "two", by).identity.replaces == expected


def test_a_call_that_comes_while_it_is_decided_on_is_not_judged_by_what_was_before(
    project: IntakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejected = call(project, "one").identity.delivery_id
    project.ledger.reject(rejected, "cannot be read", "config")
    row = project.ledger.delivery(rejected)
    judging, retried = threading.Event(), threading.Event()
    accepted_like = project.ledger.accepted_like

    def retry() -> None:
        judging.wait(60)
        with project.receiving.paused("sales"):
            project.retries.retry(row, "sales", "it was asked for")
        retried.set()

    def judged_slowly(*args: Any) -> Any:
        accepted = accepted_like(*args)
        if not judging.is_set():
            judging.set()
            retried.wait(0.2)  # in vain
        return accepted

    monkeypatch.setattr(project.ledger, "accepted_like", judged_slowly)
    decision = threading.Thread(target=retry)
    decision.start()
    call(project, "one")
    decision.join(60)
    assert sorted(project.states()) == [("one", "duplicate"), ("one", "received")]
