"""What is rejected is so in the spool too: a ledger that was lost, or is older, learns it there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.producers.delivery import (
    ACCEPTED_STATES,
    NEVER_RETRIED,
    DeliveryRow,
    DeliveryState,
    FrozenReading,
    RecordCount,
    Rejected,
)
from headrace.producers.retries import config_fingerprint
from headrace.stream import Stream
from support.intake_project import SOURCE, IntakeProject

Step = tuple[Any, ...]
Standing = list[tuple[str, str, DeliveryState, bool]]

FROZEN = FrozenReading("{}", 1, "sales")
STREAM = Stream()
NOT_CSV = Rejected("not CSV", "of the former config")
HALFWAY = Rejected("broken in the middle", NEVER_RETRIED)


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def taken(project: IntakeProject, content: str, name: str = "a.csv") -> DeliveryRow:
    project.drop(name, content)
    project.take()
    return project.rows()[-1]


def reject(project: IntakeProject, row: DeliveryRow, rejected: Rejected = NOT_CSV) -> None:
    """As the deliverer does it."""
    project.spool.reject("sales", row.delivery_id, rejected)
    project.ledger.reject(row.delivery_id, rejected.reason, rejected.config_fingerprint)


def without_ledger(project: IntakeProject) -> IntakeProject:
    project.ledger.close()
    for file in project.root.glob("ledger.db*"):
        file.unlink()
    return IntakeProject(project.root)


def retried(project: IntakeProject) -> list[str]:
    ids, _ = project.retries.after_a_change("sales", SOURCE, STREAM)
    return ids


def test_what_was_corrected_stays_rejected_though_the_ledger_is_lost(
    project: IntakeProject,
) -> None:
    reject(project, taken(project, "not quite A"))
    taken(project, "A")
    assert retried(project) == []
    project = without_ledger(project)
    assert project.states() == [("a.csv", "rejected"), ("a.csv", "received")]
    row = project.rows()[0]
    assert Rejected(row.reason or "", row.config_fingerprint or "") == NOT_CSV
    assert retried(project) == []
    assert project.look().ready == ()


def test_after_a_lost_ledger_another_config_retries_what_was_rejected(
    project: IntakeProject,
) -> None:
    row = taken(project, "A")
    reject(project, row, Rejected("not CSV", config_fingerprint(SOURCE, STREAM)))
    project = without_ledger(project)
    assert retried(project) == []
    ids, _ = project.retries.after_a_change(
        "sales", SOURCE.model_copy(update={"encoding": "latin-1"}), STREAM
    )
    assert ids == [row.delivery_id]
    assert without_ledger(project).states() == [("a.csv", "received")]


def test_its_content_under_another_name_is_the_duplicate_after_a_lost_ledger(
    project: IntakeProject,
) -> None:
    reject(project, taken(project, "A"))
    taken(project, "A", "b.csv")
    project = without_ledger(project)
    assert project.states() == [("a.csv", "rejected"), ("b.csv", "received")]
    assert retried(project) == []
    assert project.states() == [("a.csv", "duplicate"), ("b.csv", "received")]


@pytest.mark.parametrize("began", ["received", "publishing"])
@pytest.mark.parametrize("renew", [IntakeProject.restart, without_ledger])
def test_a_rejection_killed_before_the_ledger_has_it_is_carried_through(
    project: IntakeProject, began: str, renew: Callable[[IntakeProject], IntakeProject]
) -> None:
    row = taken(project, "A")
    reading = project.spool.payload("sales", row.delivery_id).with_name("reading.json")
    if began == "publishing":
        project.spool.freeze("sales", row.delivery_id, FROZEN)
        project.ledger.freeze(row.delivery_id, FROZEN)
    frozen = reading.read_bytes() if reading.exists() else None
    project.spool.reject("sales", row.delivery_id, NOT_CSV)
    assert not reading.exists()
    if frozen is not None:  # killed before it was gone
        reading.write_bytes(frozen)
    project = renew(project)
    (row,) = project.rows()
    assert (row.state, row.reason, row.config_fingerprint) == (
        "rejected",
        NOT_CSV.reason,
        NOT_CSV.config_fingerprint,
    )
    assert project.restart().states() == [("a.csv", "rejected")]
    assert retried(project.restart()) == [row.delivery_id]


@pytest.mark.parametrize("known", ["received", "publishing", "rejected"])
def test_an_older_copy_of_the_ledger_learns_what_was_rejected_halfway(
    project: IntakeProject, known: str
) -> None:
    row = taken(project, "A")
    if known == "publishing":
        project.ledger.freeze(row.delivery_id, FROZEN)
    if known == "rejected":
        project.ledger.reject(row.delivery_id, NOT_CSV.reason, NOT_CSV.config_fingerprint)
    project.spool.freeze("sales", row.delivery_id, FROZEN)
    project.spool.reject("sales", row.delivery_id, HALFWAY)
    for renew in (IntakeProject.restart, without_ledger):
        project = renew(project)
        (row,) = project.rows()
        assert (row.state, row.config_fingerprint) == ("rejected", NEVER_RETRIED)
        assert row.frozen == FROZEN
        assert retried(project) == []


def test_what_an_older_version_rejected_gets_into_the_spool_at_a_start(
    project: IntakeProject,
) -> None:
    row = taken(project, "A")
    project.ledger.reject(row.delivery_id, NOT_CSV.reason, NOT_CSV.config_fingerprint)
    project = project.restart()
    assert project.spool.rejected("sales", row.delivery_id) == NOT_CSV
    assert without_ledger(project).states() == [("a.csv", "rejected")]


def test_what_a_power_cut_emptied_the_ledger_says_again(project: IntakeProject) -> None:
    rejected, received = taken(project, "A"), taken(project, "B", "b.csv")
    reject(project, rejected)
    for row in (rejected, received):
        folder = project.spool.payload("sales", row.delivery_id).parent
        (folder / "rejected.json").write_bytes(b"")
    project = project.restart()
    assert project.states() == [("a.csv", "rejected"), ("b.csv", "received")]
    assert project.spool.rejected("sales", rejected.delivery_id) == NOT_CSV


@pytest.mark.parametrize("renew", [IntakeProject.restart, without_ledger])
def test_what_is_tried_again_is_not_rejected_any_more(
    project: IntakeProject, renew: Callable[[IntakeProject], IntakeProject]
) -> None:
    reject(project, taken(project, "A"))
    row = project.rows()[0]
    assert project.retries.retry(row, "sales", "it was asked for")
    project = renew(project)
    assert project.states() == [("a.csv", "received")]
    project.spool.freeze("sales", row.delivery_id, FROZEN)
    project.spool.counted("sales", row.delivery_id, RecordCount(1, 0))
    assert renew(project).states() == [("a.csv", "published")]


@pytest.mark.parametrize("rejected", [NOT_CSV, HALFWAY])
def test_what_was_rejected_and_revoked_is_revoked(
    project: IntakeProject, rejected: Rejected
) -> None:
    row = taken(project, "A")
    project.spool.freeze("sales", row.delivery_id, FROZEN)
    reject(project, row, rejected)
    project.spool.revoke("sales", row.delivery_id)
    project = without_ledger(project)
    assert [(row.state, row.reason) for row in project.rows()] == [("revoked", None)]


def published(project: IntakeProject, row: DeliveryRow) -> None:
    """All of it is on the topic, and nothing of what it takes the place of is in the lake."""
    before = row
    while before.replaces is not None:
        before = project.ledger.delivery(before.replaces)
        project.spool.revoke("sales", before.delivery_id)
        project.ledger.revoke([before.delivery_id])
    project.spool.freeze("sales", row.delivery_id, FROZEN)
    project.ledger.freeze(row.delivery_id, FROZEN)
    project.spool.counted("sales", row.delivery_id, RecordCount(1, 0))
    project.ledger.published(row.delivery_id, RecordCount(1, 0), 0)


def test_a_b_a_are_three_though_b_was_rejected_since(project: IntakeProject) -> None:
    rows = [taken(project, content) for content in "ABA"]
    reject(project, rows[1])
    project = without_ledger(project)
    assert [state for _, state in project.states()] == ["received", "rejected", "received"]


def test_a_b_a_are_three_though_only_the_last_was_sent(project: IntakeProject) -> None:
    rows = [taken(project, content) for content in "ABA"]
    published(project, rows[2])
    project = without_ledger(project)
    assert [state for _, state in project.states()] == ["received", "received", "published"]


def test_what_an_older_version_rejected_and_came_again_is_one(project: IntakeProject) -> None:
    first = taken(project, "A")
    project.ledger.reject(first.delivery_id, "no", "of the former config")
    (project.inbox / "a.csv").touch()
    project.take()
    published(project, project.rows()[-1])
    project = without_ledger(project)
    assert [state for _, state in project.states()] == ["duplicate", "published"]


CONTENTS = ("a\n1\n", "a\n1\n2\n", "a\n1\n2\n3\n", "a\n7\n")
NUMBERS = st.integers(0, 7)
DROPS = st.tuples(st.just("drop"), st.sampled_from("xy"), st.sampled_from(CONTENTS))
STEPS = st.tuples(
    st.sampled_from(["publish", "reject", "reject", "halfway", "config", "lose", "lose"]),
    NUMBERS,
)


def accepted_after(
    steps: Sequence[Step], renew: Callable[[IntakeProject], IntakeProject]
) -> Standing:
    """What counts at the end, where the ledger meets `renew` at each loss."""
    config = 1
    with tempfile.TemporaryDirectory() as folder:
        project = IntakeProject(Path(folder))
        for what, *which in steps:
            received = project.ledger.deliveries((DeliveryState.RECEIVED,))
            source = SOURCE.model_copy(update={"encoding": f"latin-{config}"})
            if what == "drop":
                taken(project, which[1], f"{which[0]}.csv")
            elif what == "config":
                config += 1
                source = SOURCE.model_copy(update={"encoding": f"latin-{config}"})
                project.retries.after_a_change("sales", source, STREAM)
            elif what == "lose":
                project = renew(project)
                project.take()
            elif received:
                row = received[which[0] % len(received)]
                if what == "publish":
                    published(project, row)
                elif what == "reject":
                    fingerprint = config_fingerprint(source, STREAM)
                    reject(project, row, Rejected("no", fingerprint))
                else:
                    project.spool.freeze("sales", row.delivery_id, FROZEN)
                    project.ledger.freeze(row.delivery_id, FROZEN)
                    reject(project, row, HALFWAY)
        rows = project.ledger.deliveries(ACCEPTED_STATES)
        project.ledger.close()
    return [(row.name, row.content_hash, row.state, row.replaces is None) for row in rows]


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(DROPS | STEPS, min_size=3, max_size=16))
def test_a_lost_ledger_changes_nothing_of_what_counts(steps: list[Step]) -> None:
    kept = accepted_after(steps, IntakeProject.restart)
    assert accepted_after(steps, without_ledger) == kept
