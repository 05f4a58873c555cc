"""Files into spool and ledger; and both brought into agreement after one was lost."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config_files import FileSource
from headrace.errors import LedgerError
from headrace.producers.delivery import (
    NEVER_RETRIED,
    DeliveryState,
    FrozenReading,
    RecordCount,
)
from headrace.producers.folders.intake import Look
from headrace.producers.folders.watched_folder import FolderAbsentError, WatchedFolder
from headrace.producers.retries import config_fingerprint
from headrace.stream import Stream
from support.deliveries import BEGAN, identity
from support.intake_project import SOURCE, IntakeProject


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def test_a_file_is_taken_once(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    assert project.look().ready == ()
    assert project.restart().look().ready == ()
    (row,) = project.restart().rows()
    assert (row.name, row.path, row.state, row.size_bytes) == (
        "a.csv",
        "inbox/a.csv",
        "received",
        1,
    )
    assert project.spool.payload("sales", row.delivery_id).read_text() == "A"


def test_the_same_content_dropped_again_under_other_names_is_listed_and_not_taken(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.take()
    project.drop("b.csv", "A")
    project.drop("sub/c.csv", "A")
    project.take()
    assert project.states() == [
        ("a.csv", "received"),
        ("b.csv", "duplicate"),
        ("sub/c.csv", "duplicate"),
    ]
    original = project.rows()[0].delivery_id
    assert [row.duplicate_of for row in project.rows()] == [None, original, original]
    assert len(list(project.spool.delivery_ids())) == 1
    assert project.look().ready == ()


def test_the_same_content_twice_in_one_look_is_accepted_once(project: IntakeProject) -> None:
    for name in ("b.csv", "a.csv", "c.csv"):
        project.drop(name, "A")
    project.take()
    assert project.states() == [
        ("a.csv", "received"),
        ("b.csv", "duplicate"),
        ("c.csv", "duplicate"),
    ]


def test_a_b_a_under_one_name_are_three_deliveries(project: IntakeProject) -> None:
    for content in "ABA":
        project.drop("a.csv", content)
        project.take()
    assert project.states() == [("a.csv", "received")] * 3


def test_a_touched_file_is_listed_once_as_a_duplicate(project: IntakeProject) -> None:
    path = project.drop("a.csv", "A")
    project.take()
    os.utime(path, ns=(1, 1))
    project.take()
    assert project.states() == [("a.csv", "received"), ("a.csv", "duplicate")]
    assert project.look().ready == ()


def test_a_young_file_waits(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    patient = SOURCE.model_copy(update={"settle": 3_600.0})
    look = project.look(patient)
    assert (look.ready, [stat.name for stat in look.young]) == ((), ["a.csv"])


def test_a_file_that_changed_since_it_was_seen_is_not_taken(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.drop("b.csv", "B")
    seen = project.look().ready
    project.drop("a.csv", "AA")
    taken = project.intake.take("sales", SOURCE, seen)
    assert [stat.name for stat in taken.changed] == ["a.csv"]
    assert project.states() == [("b.csv", "received")]
    project.take()
    assert project.states() == [("b.csv", "received"), ("a.csv", "received")]


def test_ids_increase_where_the_clock_stands_still_or_goes_back(project: IntakeProject) -> None:
    for number in range(3):
        project.drop("a.csv", str(number))
        project.take()
    project = project.restart()
    project.now = BEGAN - timedelta(days=1)
    project.drop("a.csv", "9")
    project.take()
    times = [row.received_at for row in project.rows()]
    assert times == [BEGAN + timedelta(microseconds=n) for n in range(4)]
    ids = [row.delivery_id for row in project.rows()]
    assert ids == sorted(ids)
    assert len(set(ids)) == 4


def test_a_source_without_its_folder_says_how_to_make_it(project: IntakeProject) -> None:
    project.inbox.rmdir()
    with pytest.raises(
        FolderAbsentError, match=r"sources\.sales\.path: there is no folder"
    ) as refused:
        project.look()
    assert refused.value.remedy is not None
    assert refused.value.remedy.startswith(f"mkdir -p {project.inbox}")


def test_a_folder_that_may_not_be_looked_into_is_not_one_without_files(
    project: IntakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    project.drop("a.csv", "A")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        FolderAbsentError, match=r"sources\.sales\.path: .*inbox cannot be read: Permission denied"
    ):
        project.look()


def test_a_moved_project_does_not_take_its_files_again(
    project: IntakeProject, tmp_path: Path
) -> None:
    project.drop("a.csv", "A")
    project.take()
    project.ledger.close()
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    assert IntakeProject(moved).look().ready == ()
    moved.rename(tmp_path)


def test_a_name_that_is_not_utf8_is_taken(project: IntakeProject) -> None:
    path = os.fsencode(project.inbox) + b"/caf\xe9.csv"
    try:
        Path(os.fsdecode(path)).write_text("A")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    project.take()
    assert project.states() == [("caf\\xe9.csv", "received")]
    assert project.look().ready == ()


# --- rejected


def reject_all(project: IntakeProject, fingerprint: str = "config-1") -> None:
    for row in project.ledger.deliveries((DeliveryState.RECEIVED,)):
        project.ledger.reject(row.delivery_id, "not CSV", fingerprint)


def test_a_rejected_file_stands_rejected_as_long_as_it_lies_there(project: IntakeProject) -> None:
    path = project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    look = project.look()
    assert (look.ready, [row.name for row in look.rejected]) == ((), ["a.csv"])
    path.unlink()
    assert project.look().rejected == ()


def test_a_rejected_file_that_was_corrected_is_a_new_delivery(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("a.csv", "B")
    project.take()
    assert project.states() == [("a.csv", "rejected"), ("a.csv", "received")]
    assert project.look().rejected == ()


def test_rejected_content_under_another_name_is_no_duplicate(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("b.csv", "A")
    project.take()
    assert project.states() == [("a.csv", "rejected"), ("b.csv", "received")]


def test_a_rejected_delivery_is_retried_under_its_own_id(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    (row,) = project.rows()
    assert project.retries.retry(row, "sales", "asked for")
    assert [(r.delivery_id, r.state) for r in project.rows()] == [(row.delivery_id, "received")]


def test_of_two_rejected_with_the_same_content_one_is_accepted_on_retry(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("b.csv", "A")
    project.take()
    reject_all(project)
    first, second = project.rows()
    assert project.retries.retry(first, "sales", "asked for")
    assert not project.retries.retry(second, "sales", "asked for")
    assert project.states() == [("a.csv", "received"), ("b.csv", "duplicate")]
    assert project.rows()[1].duplicate_of == first.delivery_id


def retry_all(project: IntakeProject, source: FileSource = SOURCE) -> tuple[list[str], int]:
    retried, repeating = project.retries.after_a_change("sales", source, Stream())
    return [project.ledger.delivery(id_).name for id_ in retried], repeating


def test_a_rejected_delivery_is_retried_from_the_spool_when_its_file_is_gone(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.drop("b.csv", "A")
    project.take()
    assert project.states() == [("a.csv", "received"), ("b.csv", "duplicate")]
    reject_all(project)
    (project.inbox / "a.csv").unlink()
    assert retry_all(project) == (["a.csv"], 0)
    assert project.states() == [("a.csv", "received"), ("b.csv", "duplicate")]
    assert project.look().ready == ()


def test_it_is_not_retried_with_the_config_that_it_was_rejected_with(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project, config_fingerprint(SOURCE, Stream()))
    assert retry_all(project) == ([], 0)
    assert retry_all(project, SOURCE.model_copy(update={"format": "csv"})) == (["a.csv"], 0)


def test_a_retried_delivery_goes_where_its_source_leads_now(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    retry_all(project, SOURCE.model_copy(update={"stream": "orders"}))
    assert [(row.stream, row.state) for row in project.rows()] == [("orders", "received")]


def test_a_rejected_file_that_was_corrected_is_not_retried(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("a.csv", "corrected")
    project.take()
    assert retry_all(project) == ([], 0)
    assert project.states() == [("a.csv", "rejected"), ("a.csv", "received")]


def test_a_file_whose_original_was_rejected_since_is_a_delivery_of_its_own(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.drop("b.csv", "A")
    project.take()
    reject_all(project)
    assert [stat.name for stat in project.look().ready] == ["b.csv"]
    project.take()
    assert project.states() == [("a.csv", "rejected"), ("b.csv", "received")]
    assert project.look().ready == ()


def test_a_file_whose_original_was_rejected_halfway_stays_a_duplicate(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.drop("b.csv", "A")
    project.take()
    reject_all(project, NEVER_RETRIED)
    assert project.look().ready == ()


def test_a_folder_that_cannot_be_read_is_named(
    project: IntakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.drop("a.csv", "A")
    project.drop("locked/b.csv", "B")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    look = project.look()
    assert [stat.name for stat in look.ready] == ["a.csv"]
    assert look.unreadable == (("locked/", "Permission denied"),)


def test_the_fingerprint_changes_with_how_it_is_read_and_with_nothing_else() -> None:
    stream = Stream.model_validate({"event_time": "When"})
    before = config_fingerprint(SOURCE, stream)
    for same in ({"path": "x"}, {"patterns": ("*.x",)}, {"settle": 9.0}):
        assert config_fingerprint(SOURCE.model_copy(update=same), stream) == before
    checked = stream.model_copy(update={"checks": {"x": "TRUE"}})
    assert config_fingerprint(SOURCE, checked) == before
    for other in ({"format": "csv"}, {"csv": SOURCE.csv.model_copy(update={"delimiter": ";"})}):
        assert config_fingerprint(SOURCE.model_copy(update=other), stream) != before
    for rule in ({"event_time": "Then"}, {"event_time": "When", "timezone": "Europe/London"}):
        assert config_fingerprint(SOURCE, Stream.model_validate(rule)) != before


# --- lost and found


def test_a_lost_ledger_is_built_again_with_the_same_ids(project: IntakeProject) -> None:
    frozen = FrozenReading("{}", 1, "sales")
    for number, name in enumerate(("a.csv", "b.csv", "c.csv")):
        project.drop(name, str(number))
    project.take()
    before = project.rows()
    project.spool.freeze("sales", before[1].delivery_id, frozen)
    project.spool.freeze("sales", before[2].delivery_id, frozen)
    project.spool.counted("sales", before[2].delivery_id, RecordCount(5, 0))
    ledger_id = project.ledger.ledger_id
    project.ledger.close()
    for file in project.root.glob("ledger.db*"):
        file.unlink()

    project = IntakeProject(project.root)
    assert project.ledger.ledger_id == ledger_id
    assert [row.delivery_id for row in project.rows()] == [row.delivery_id for row in before]
    assert [row.state for row in project.rows()] == ["received", "publishing", "published"]
    assert [row.received_at for row in project.rows()] == [row.received_at for row in before]
    assert project.look().ready == ()


def lose_ledger(project: IntakeProject) -> IntakeProject:
    project.ledger.close()
    for file in project.root.glob("ledger.db*"):
        file.unlink()
    return IntakeProject(project.root)


FROZEN = FrozenReading("{}", 1, "sales")


def test_after_a_lost_ledger_no_content_is_accepted_twice(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("b.csv", "A")
    project.take()
    second = project.rows()[1]
    project.spool.freeze("sales", second.delivery_id, FROZEN)
    project.spool.counted("sales", second.delivery_id, RecordCount(1, 0))
    project = lose_ledger(project)
    assert project.states() == [("a.csv", "duplicate"), ("b.csv", "published")]
    assert project.rows()[0].duplicate_of == second.delivery_id


def test_after_a_lost_ledger_unsent_deliveries_are_judged_by_arrival(
    project: IntakeProject,
) -> None:
    for content in "ABA":
        project.drop("a.csv", content)
        project.take()
    reject_all(project)
    project.drop("b.csv", "A")
    project.take()
    project = lose_ledger(project)
    assert project.states() == [
        ("a.csv", "received"),
        ("a.csv", "received"),
        ("a.csv", "received"),
        ("b.csv", "duplicate"),
    ]


def test_what_repeats_another_on_its_retry_leaves_the_spool(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    reject_all(project)
    project.drop("b.csv", "A")
    project.take()
    reject_all(project)
    assert retry_all(project) == (["a.csv"], 1)
    original = project.rows()[0].delivery_id
    assert list(project.spool.delivery_ids()) == [("sales", original)]


def test_an_older_copy_of_the_ledger_learns_how_deliveries_were_read(
    project: IntakeProject,
) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        project.drop(name, name)
    project.take()
    received, rejected, counted = project.rows()
    project.ledger.reject(rejected.delivery_id, "not CSV", "config-1")
    for row in (received, rejected, counted):
        project.spool.freeze("sales", row.delivery_id, FROZEN)
    project.spool.counted("sales", counted.delivery_id, RecordCount(7, 0))
    project = project.restart()
    assert [row.state for row in project.rows()] == ["publishing", "publishing", "published"]
    assert [row.frozen for row in project.rows()] == [FROZEN] * 3
    assert project.rows()[2].records == 7


def test_what_was_rejected_halfway_stays_rejected_though_it_is_frozen(
    project: IntakeProject,
) -> None:
    project.drop("a.csv", "A")
    project.take()
    project.spool.freeze("sales", project.rows()[0].delivery_id, FROZEN)
    reject_all(project, NEVER_RETRIED)
    assert project.restart().states() == [("a.csv", "rejected")]


def test_a_delivery_placed_right_before_a_crash_is_found(project: IntakeProject) -> None:
    path = project.drop("a.csv", "A")
    (stat,) = project.look().ready
    one = identity(content=b"A")
    draft = project.spool.draft(
        "sales", path, WatchedFolder(project.root, "sales", SOURCE).origin(stat)
    )
    project.spool.place(draft, one)
    project = project.restart()
    assert [(r.delivery_id, r.state) for r in project.rows()] == [(one.delivery_id, "received")]
    project.now = datetime.min.replace(tzinfo=BEGAN.tzinfo)
    project.drop("b.csv", "B")
    project.take()
    assert project.rows()[-1].received_at > one.received_at


def test_what_a_crashed_intake_copied_is_gone_after_the_next_start(project: IntakeProject) -> None:
    path = project.drop("a.csv", "A")
    (stat,) = project.look().ready
    draft = project.spool.draft(
        "sales", path, WatchedFolder(project.root, "sales", SOURCE).origin(stat)
    )
    project = project.restart()
    assert not draft.folder.exists()
    project.take()
    assert project.states() == [("a.csv", "received")]


def test_a_spool_of_another_ledger_is_refused(project: IntakeProject, tmp_path: Path) -> None:
    project.drop("a.csv", "A")
    project.take()
    project.spool.set_owner("somebody-else")
    with pytest.raises(LedgerError, match="belongs to the ledger somebody-else"):
        project.restart()


def test_a_lost_spool_gets_a_new_one_of_the_same_ledger(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.take()
    shutil.rmtree(project.spool.root)
    project = project.restart()
    assert project.spool.owner() == project.ledger.ledger_id
    assert project.states() == [("a.csv", "received")]


# --- looks at some files alone


def test_a_look_at_named_files_leaves_the_others(project: IntakeProject) -> None:
    for name in ("a.csv", "b.csv", "sub/c.csv"):
        project.drop(name, name)
    look = project.intake.look("sales", SOURCE, time.time_ns(), ["a.csv", "sub/c.csv", "gone.csv"])
    assert [stat.name for stat in look.ready] == ["a.csv", "sub/c.csv"]
    project.intake.take("sales", SOURCE, look.ready)
    assert project.intake.look("sales", SOURCE, time.time_ns(), ["a.csv"]).ready == ()
    assert [stat.name for stat in project.look().ready] == ["b.csv"]


def test_a_file_that_is_complete_need_not_settle(project: IntakeProject) -> None:
    project.drop("a.csv", "A")
    project.drop("b.csv", "B")
    patient = SOURCE.model_copy(update={"settle": 3_600.0})
    for only in (None, ["a.csv", "b.csv"]):
        look = project.intake.look("sales", patient, time.time_ns(), only, ["b.csv"])
        assert [stat.name for stat in look.ready] == ["b.csv"]
        assert [stat.name for stat in look.young] == ["a.csv"]


@pytest.mark.parametrize(
    ("source_path", "stored"),
    [
        ("inbox", "inbox/a.csv"),
        ("./inbox/", "inbox/a.csv"),
        (".", "a.csv"),
        ("{elsewhere}", "{elsewhere}/a.csv"),
    ],
)
def test_a_file_is_known_again_wherever_its_folder_is(
    tmp_path: Path, source_path: str, stored: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    project = IntakeProject(tmp_path / "shop")
    path = source_path.format(elsewhere=elsewhere)
    source = SOURCE.model_copy(update={"path": path, "patterns": ("a.csv",)})
    (project.root / source.path / "a.csv").write_text("A")
    look = project.look(source)
    project.intake.take("sales", source, look.ready)
    (row,) = project.rows()
    assert row.path == stored.format(elsewhere=elsewhere)
    assert project.look(source).ready == ()
    assert project.intake.look("sales", source, time.time_ns(), ["a.csv"]).ready == ()


# --- markers


def of(look: Look) -> tuple[list[str], ...]:
    """Names of what is ready, young and without a marker."""
    return tuple([stat.name for stat in stats] for stats in (look.ready, look.young, look.unmarked))


def test_a_file_waits_for_its_marker_however_old_it_is(project: IntakeProject) -> None:
    source = SOURCE.model_copy(update={"marker": ".done", "patterns": ("*",)})
    project.drop("a.csv", "A")
    assert of(project.look(source)) == ([], [], ["a.csv"])
    look = project.intake.look("sales", source, time.time_ns(), ["a.csv"], ["a.csv"])
    assert of(look) == ([], [], ["a.csv"])
    project.drop("a.csv.done", "")
    project.drop("b.csv.DONE", "")
    assert of(project.look(source)) == (["a.csv"], [], [])
    look = project.intake.look("sales", source, time.time_ns(), ["a.csv", "a.csv.done"])
    assert of(look) == (["a.csv"], [], [])


def test_a_marked_file_need_not_settle_unless_it_is_newer_than_its_marker(
    project: IntakeProject,
) -> None:
    source = SOURCE.model_copy(update={"marker": ".done", "settle": 3_600.0})
    path = project.drop("a.csv", "A")
    marker = project.drop("a.csv.done", "")
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    os.utime(marker, ns=(now, now))
    assert of(project.look(source)) == (["a.csv"], [], [])
    os.utime(marker, ns=(now, now - 1))
    assert of(project.look(source)) == ([], ["a.csv"], [])
    assert of(project.look(source.model_copy(update={"settle": 0}))) == (["a.csv"], [], [])


def test_a_marker_in_a_folder_marks_all_that_is_in_it(project: IntakeProject) -> None:
    source = SOURCE.model_copy(update={"marker": "_SUCCESS", "patterns": ("*",)})
    for name in ("a.csv", "one/b.csv", "one/day=1/c.csv", "two/d.csv"):
        project.drop(name, name)
    assert of(project.look(source))[0] == []
    project.drop("one/_SUCCESS", "")
    assert of(project.look(source)) == (
        ["one/b.csv", "one/day=1/c.csv"],
        [],
        ["a.csv", "two/d.csv"],
    )
    (project.inbox / "_SUCCESS").mkdir()
    assert of(project.look(source))[2] == ["a.csv", "two/d.csv"]
    (project.inbox / "_SUCCESS").rmdir()
    project.drop("_SUCCESS", "")
    assert of(project.look(source)) == (
        ["a.csv", "one/b.csv", "one/day=1/c.csv", "two/d.csv"],
        [],
        [],
    )


def test_equal_files_under_two_names_are_two_where_names_count(project: IntakeProject) -> None:
    by_name = SOURCE.model_copy(update={"identity": "name+content"})
    for name in ("a.csv", "b.csv", "sub/a.csv"):
        project.drop(name, "A")
    project.intake.take("sales", by_name, project.look(by_name).ready)
    touched = project.drop("a.csv", "A")
    os.utime(touched, ns=(1, 1))
    project.intake.take("sales", by_name, project.look(by_name).ready)
    assert project.states() == [
        ("a.csv", "received"),
        ("b.csv", "received"),
        ("sub/a.csv", "received"),
        ("a.csv", "duplicate"),
    ]


def test_very_long_and_odd_names_are_taken_and_known_again(project: IntakeProject) -> None:
    odd = ["x" * 251 + ".csv", "new\nline.csv", "with space.csv", "'; DROP TABLE deliveries;.csv"]
    for name in odd:
        project.drop(name, name)
    project.take()
    assert [name for name, _ in project.states()] == sorted(odd)
    assert project.look().ready == ()


# --- any order of arrival


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_any_order_of_arrival_gives_the_same_content(data: st.DataObject) -> None:
    contents = {f"{number}.csv": f"content {number % 4}" for number in range(7)}
    by_name = data.draw(st.booleans())
    source = SOURCE.model_copy(
        update={"marker": ".done", "identity": "name+content" if by_name else "content"}
    )
    steps = [*contents, *(f"{name}.done" for name in contents)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        project = IntakeProject(Path(folder))
        for name in data.draw(st.permutations(steps)):
            project.drop(name, contents.get(name, ""))
            if data.draw(st.booleans()):
                project.intake.take("sales", source, project.look(source).ready)
        project.intake.take("sales", source, project.look(source).ready)
        rows = project.rows()
        assert sorted(row.name for row in rows) == sorted(contents)
        taken = [row for row in rows if row.state == "received"]
        held = sorted(project.spool.payload("sales", r.delivery_id).read_text() for r in taken)
        assert held == sorted(contents.values() if by_name else set(contents.values()))
        project.ledger.close()
