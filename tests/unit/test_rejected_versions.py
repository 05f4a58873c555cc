"""Versions of one file of which some were rejected: none of their records is there twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.errors import UsageError
from headrace.producers.decisions import standing_for
from headrace.producers.delivery import (
    ACCEPTED_STATES,
    NEVER_RETRIED,
    DeliveryRow,
    DeliveryState,
    IdentityBy,
    Origin,
    Rejected,
)
from headrace.producers.receiving import Arrived
from headrace.stream import Stream
from support.intake_project import SOURCE, IntakeProject

A = "1\n"
HALF = "1\nbad\n"
WHOLE = "1\nbad\n2\n"
CORRECTED = "1\n2\n"
OTHER = "7\n"


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def take(project: IntakeProject, content: str, name: str = "x.csv") -> DeliveryRow:
    project.drop(name, content)
    project.take()
    return project.rows()[-1]


def reject(project: IntakeProject, row: DeliveryRow, fingerprint: str = "before") -> None:
    """As the deliverer does."""
    project.spool.reject(row.source, row.delivery_id, Rejected("bad", fingerprint))
    project.ledger.reject(row.delivery_id, "bad", fingerprint)


def rejected(project: IntakeProject, content: str, name: str = "x.csv") -> DeliveryRow:
    row = take(project, content, name)
    reject(project, row)
    return project.ledger.delivery(row.delivery_id)


def revoke(project: IntakeProject, row: DeliveryRow) -> None:
    """As the revoker does."""
    project.spool.revoke(row.source, row.delivery_id)
    project.ledger.revoke([row.delivery_id])


def change_config(project: IntakeProject) -> list[str]:
    retried, _ = project.retries.after_a_change("sales", SOURCE, Stream())
    return retried


def retry(project: IntakeProject, row: DeliveryRow) -> DeliveryRow:
    assert project.retries.retry(project.ledger.delivery(row.delivery_id), "sales", "asked for")
    return project.ledger.delivery(row.delivery_id)


def live(project: IntakeProject) -> list[str]:
    """What ends up in the lake once each has taken its place: the contents."""
    rows = project.ledger.deliveries(ACCEPTED_STATES)
    replaced: set[str | None] = set()
    for row in rows:
        at: DeliveryRow | None = row
        while at is not None and at.replaces is not None:
            replaced.add(at.replaces)
            at = project.ledger.find(at.replaces)
    return [
        project.spool.payload(row.source, row.delivery_id).read_text()
        for row in rows
        if row.delivery_id not in replaced
    ]


# --- the config has changed


@pytest.mark.parametrize("versions", [(HALF, WHOLE), (HALF, CORRECTED), (OTHER, HALF, WHOLE)])
def test_of_several_rejected_versions_the_last_is_tried_again(
    project: IntakeProject, versions: tuple[str, ...]
) -> None:
    rows = [rejected(project, version) for version in versions]
    assert change_config(project) == [rows[-1].delivery_id]
    assert live(project) == [versions[-1]]


def test_of_two_rejected_growths_of_what_landed_the_last_takes_its_place(
    project: IntakeProject,
) -> None:
    take(project, A)
    rejected(project, HALF)
    rejected(project, WHOLE)
    change_config(project)
    assert live(project) == [WHOLE]


@pytest.mark.parametrize("first", ["x.csv", "y.csv"])
@pytest.mark.parametrize("other_rejected", [False, True])
def test_a_file_that_was_corrected_to_what_another_has_stays_rejected(
    project: IntakeProject, first: str, other_rejected: bool
) -> None:
    for name in sorted(["x.csv", "y.csv"], key=lambda name: name != first):
        take(project, HALF if name == "x.csv" else CORRECTED, name)
    bad, good = sorted(project.rows(), key=lambda row: row.name)
    reject(project, bad)
    take(project, CORRECTED)
    assert ("x.csv", "duplicate") in project.states()
    if other_rejected:
        reject(project, good)
    change_config(project)
    assert live(project) == [CORRECTED]


def test_a_rejected_file_that_was_touched_is_tried_again_once(project: IntakeProject) -> None:
    for mtime in (1, 2):
        path = project.drop("x.csv", HALF)
        os.utime(path, (mtime, mtime))
        project.take()
        reject(project, project.rows()[-1])
    assert change_config(project) == [project.rows()[1].delivery_id]
    assert change_config(project) == []
    assert project.states() == [("x.csv", "duplicate"), ("x.csv", "received")]


def test_a_file_that_was_corrected_together_with_the_config_is_taken_once(
    project: IntakeProject,
) -> None:
    row = rejected(project, HALF)
    path = project.drop("x.csv", CORRECTED)
    assert change_config(project) == []
    project.take()
    assert change_config(project) == []
    assert live(project) == [CORRECTED]
    revoke(project, project.rows()[-1])
    path.unlink()
    retry(project, row)
    assert live(project) == [HALF]


def test_what_was_rejected_before_a_version_that_was_revoked_stays_rejected(
    project: IntakeProject,
) -> None:
    rejected(project, HALF)
    revoke(project, take(project, CORRECTED))
    assert change_config(project) == []


def test_what_was_rejected_before_one_that_was_rejected_halfway_stays_rejected(
    project: IntakeProject,
) -> None:
    rejected(project, HALF)
    reject(project, take(project, CORRECTED), NEVER_RETRIED)
    assert change_config(project) == []


def test_pages_of_one_request_are_tried_again_each(project: IntakeProject) -> None:
    def poll(body: bytes) -> str:
        arrived = Arrived(
            "GET /prices",
            Origin("", 0, 0, 0),
            project.spool.draft_bytes("sales", body),
            IdentityBy.NAME_AND_CONTENT,
        )
        (receipt,) = project.receiving.receive("sales", "sales", [arrived])
        return receipt.identity.delivery_id

    pages = [poll(b"[1]"), poll(b"[2]")]
    for page in pages:
        reject(project, project.ledger.delivery(page))
    assert change_config(project) == pages


def test_pieces_of_a_log_that_goes_on_are_tried_again_each(project: IntakeProject) -> None:
    path = project.drop("x.log", A)
    for piece in ("x.log@0-2", "x.log@2-4"):
        stat = path.stat()
        arrived = Arrived(
            piece,
            Origin("inbox/x.log", stat.st_ino, stat.st_size, stat.st_mtime_ns),
            project.spool.draft_bytes("sales", A.encode()),
            IdentityBy.NAME,
        )
        project.receiving.receive("sales", "sales", [arrived])
        reject(project, project.rows()[-1])
        path.write_text(path.read_text() + A)
    assert change_config(project) == [row.delivery_id for row in project.rows()]


# --- tried again by hand


@pytest.mark.parametrize("lost", [False, True])
def test_it_takes_the_place_of_what_its_file_has_grown_from_by_now(
    project: IntakeProject, lost: bool
) -> None:
    half, whole = rejected(project, HALF), rejected(project, WHOLE)
    retry(project, half)
    assert retry(project, whole).replaces == half.delivery_id
    if lost:
        project.ledger.close()
        for file in project.root.glob("ledger.db*"):
            file.unlink()
        project = IntakeProject(project.root)
    assert live(project) == [WHOLE]


def test_it_takes_the_place_of_what_landed_as_that_was_read_anew(project: IntakeProject) -> None:
    first = take(project, A)
    grown = rejected(project, HALF)
    again = project.receiving.take_again(first, "sales").identity.delivery_id
    assert retry(project, grown).replaces == again
    assert live(project) == [HALF]


@pytest.mark.parametrize("versions", [(A, HALF, CORRECTED), (HALF, WHOLE), (WHOLE, HALF)])
def test_it_is_refused_where_a_later_version_has_records_of_it(
    project: IntakeProject, versions: tuple[str, ...]
) -> None:
    *landed, bad, corrected = versions
    for version in landed:
        take(project, version)
    row = rejected(project, bad)
    standing = take(project, corrected)
    with pytest.raises(UsageError, match=f"was corrected by {standing.delivery_id}") as refused:
        retry(project, row)
    assert f"`headrace revoke {standing.delivery_id}`" in str(refused.value)
    revoke(project, standing)
    retry(project, row)
    assert bad in live(project)


def test_it_is_tried_again_where_a_later_version_has_other_records(
    project: IntakeProject,
) -> None:
    row = rejected(project, HALF)
    take(project, OTHER)
    retry(project, row)
    assert live(project) == [HALF, OTHER]


# --- read anew


@pytest.mark.parametrize("halfway", [False, True])
def test_a_file_grows_from_what_is_read_anew_and_has_not_landed(
    project: IntakeProject, halfway: bool
) -> None:
    first = take(project, A)
    if halfway:
        reject(project, first, NEVER_RETRIED)
    again = project.receiving.take_again(first, "sales").identity.delivery_id
    assert take(project, CORRECTED).replaces == again
    assert live(project) == [CORRECTED]


def test_a_version_that_stands_rejected_does_not_stand_for_what_landed(
    project: IntakeProject,
) -> None:
    first = take(project, A)
    grown = rejected(project, HALF)
    assert grown.replaces == first.delivery_id
    assert standing_for(first, project.ledger.related(first)) is None
    reject(project, retry(project, grown), NEVER_RETRIED)
    standing = standing_for(first, project.ledger.related(first))
    assert standing is not None
    assert standing.delivery_id == grown.delivery_id


def test_bytes_read_anew_that_stand_rejected_stand_for_what_landed(
    project: IntakeProject,
) -> None:
    first = take(project, A)
    again = project.receiving.take_again(first, "sales").identity.delivery_id
    reject(project, project.ledger.delivery(again))
    standing = standing_for(first, project.ledger.related(first))
    assert standing is not None
    assert (standing.delivery_id, standing.state) == (again, DeliveryState.REJECTED)


def test_what_took_its_place_stands_for_it_though_that_was_replaced_in_its_turn(
    project: IntakeProject,
) -> None:
    first, second, third = (take(project, content) for content in ("1\n", "1\n2\n", "1\n2\n3\n"))
    for replaced in (first, second):
        revoke(project, replaced)
    first = project.ledger.delivery(first.delivery_id)
    standing = standing_for(first, project.ledger.related(first))
    assert standing is not None
    assert standing.delivery_id == third.delivery_id
    revoke(project, third)  # by somebody who wants none of it: then the first may be taken again
    assert standing_for(first, project.ledger.related(first)) is None
