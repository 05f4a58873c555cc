"""Appended logs: each line once, whatever becomes of the files and of who reads them."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.config_files import CsvOptions
from headrace.producers.delivery import Cursor, DeliveryState
from headrace.producers.following import intake as follow_intake
from headrace.producers.receiving import Receiving
from headrace.producers.spool.spool import Spool
from support.deliveries import BEGAN
from support.followed_logs import LOGS, FollowedLogs

LONG = "x" * 1_500


@pytest.fixture
def logs(tmp_path: Path) -> FollowedLogs:
    return FollowedLogs(tmp_path)


def test_only_new_complete_lines_are_taken(logs: FollowedLogs) -> None:
    logs.append("access.log", "one\ntwo\nthr")
    logs.take()
    assert logs.pieces == [b"one\ntwo\n"]
    logs.take()
    logs.append("access.log", "ee\n")
    logs.take()
    logs.take()
    assert logs.pieces == [b"one\ntwo\n", b"three\n"]
    assert logs.names == ["access.log@0-8", "access.log@8-14"]


def test_lines_that_are_alike_are_each_taken(logs: FollowedLogs) -> None:
    for _ in range(3):
        logs.append("access.log", "same\nsame\n")
        logs.take()
    assert logs.lines == ["same"] * 6


def test_logs_that_began_alike_are_each_taken(logs: FollowedLogs) -> None:
    logs.append("a.log", "started\n")
    logs.append("b.log", "started\n")
    logs.take()
    logs.append("c.log", "started\nc\n")
    logs.append("a.log", "a\n")
    logs.append("b.log", "b\n")
    logs.take()
    assert Counter(logs.lines) == {"started": 3, "a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("rotated", ["access.log.1", "access.log-20260301", "old/access.txt"])
def test_a_rotated_log_is_not_taken_twice_and_its_rest_is(logs: FollowedLogs, rotated: str) -> None:
    logs.append("access.log", "one\ntwo\n")
    logs.take()
    logs.append("access.log", "three\nfour")
    (logs.inbox / "old").mkdir()
    logs.rename("access.log", rotated)
    logs.append("access.log", "five\n")
    logs.take()
    logs.append("access.log", "six\n")
    logs.take()
    assert sorted(logs.lines) == ["five", "four", "one", "six", "three", "two"]
    assert set(logs.names) >= {"access.log@0-8", "access.log@8-18", "access.log@2:0-5"}


def test_the_last_line_of_a_rotated_log_has_to_settle(tmp_path: Path) -> None:
    logs = FollowedLogs(tmp_path, LOGS.model_copy(update={"settle": 3_600.0}))
    logs.append("access.log", "one\ntw")
    logs.take()
    logs.rename("access.log", "access.log.1")
    (look,) = logs.take()
    assert [stat.name for stat in look.young] == ["access.log.1"]
    path = logs.append("access.log.1", "o\nthree")  # by one who has not noticed yet
    logs.take()
    assert logs.lines == ["one", "two"]
    os.utime(path, ns=(1, 1))
    logs.take()
    assert logs.lines == ["one", "two", "three"]


def test_a_log_beside_one_whose_name_it_begins_with_is_not_rotated(logs: FollowedLogs) -> None:
    logs.source = LOGS.model_copy(update={"patterns": ("web*",)})
    logs.append("web", "one\n")
    logs.append("web-errors", "two\nhalf of ")
    logs.take()
    logs.append("web-errors", "a line\n")
    logs.take()
    assert sorted(logs.lines) == ["half of a line", "one", "two"]


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("regrown", ["less", "more"])
def test_a_log_that_is_copied_and_emptied_goes_on(
    logs: FollowedLogs, size: str, regrown: str
) -> None:
    filling = [f"{number} {LONG if size == 'large' else ''}" for number in range(4)]
    logs.append("access.log", "".join(f"{line}\n" for line in filling[:3]))
    logs.take()
    logs.append("access.log", f"{filling[3]}\n")
    logs.copy("access.log", "access.log.1")
    logs.truncate("access.log")
    more = [f"new {number}" for number in range(1 if regrown == "less" else 3_000)]
    logs.append("access.log", "".join(f"{line}\n" for line in more))
    logs.take()
    logs.take()
    assert Counter(logs.lines) == Counter([*filling, *more])


def test_a_copy_of_a_log_that_is_still_written_is_not_taken(logs: FollowedLogs) -> None:
    logs.append("access.log", f"one {LONG}\ntwo\n")
    logs.take()
    logs.append("access.log", "three\n")
    logs.copy("access.log", "access.log.1")
    logs.append("access.log", "four\n")
    logs.take()
    logs.append("access.log", "five\n")
    logs.take()
    os.truncate(logs.inbox / "access.log.1", 1_200)  # as a copy that is not done yet
    logs.take()
    assert [line[:5].strip() for line in logs.lines] == ["one x", "two", "three", "four", "five"]
    logs.copy("access.log", "access.log.1")
    logs.truncate("access.log")
    logs.append("access.log", "six\n")
    logs.take()
    assert logs.lines[5:] == ["six"]


def test_a_file_that_replaces_a_log_is_another_log(logs: FollowedLogs) -> None:
    path = logs.append("access.log", "one\ntwo\n")
    logs.take()
    path.unlink()
    logs.append("access.log", "ONE\nTWO\nTHREE\n")
    logs.take()
    path.write_text("eins\nzwei\ndrei\nvier\n")  # the same inode
    logs.take()
    assert logs.lines == ["one", "two", "ONE", "TWO", "THREE", "eins", "zwei", "drei", "vier"]


def test_a_log_that_is_moved_to_other_inodes_goes_on(logs: FollowedLogs) -> None:
    logs.append("access.log", f"one {LONG}\n")
    logs.take()
    logs.copy("access.log", "restored.log")
    (logs.inbox / "access.log").unlink()
    logs.append("restored.log", "two\n")
    logs.take()
    assert logs.pieces[1:] == [b"two\n"]


def test_a_backlog_is_taken_piece_by_piece(
    logs: FollowedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_intake, "PIECE_BYTES", 100)
    written = [f"line {number}" for number in range(100)]
    logs.append("access.log", "".join(f"{line}\n" for line in written))
    looks = logs.take()
    assert len(looks) > 5
    assert logs.lines == written
    assert max(map(len, logs.pieces)) <= 100


def test_a_line_without_end_is_cut(logs: FollowedLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_intake, "PIECE_BYTES", 100)
    logs.append("access.log", "x" * 250)
    logs.take()
    assert [len(piece) for piece in logs.pieces] == [100, 100]
    logs.append("access.log", "y\n")
    logs.take()
    assert b"".join(logs.pieces) == b"x" * 250 + b"y\n"


def test_the_header_of_csv_stands_before_every_piece(tmp_path: Path) -> None:
    source = LOGS.model_copy(update={"format": "csv", "csv": CsvOptions(header=True, skip_lines=1)})
    logs = FollowedLogs(tmp_path, source)
    logs.append("a.log", "# made by us\nitem,")
    logs.take()
    logs.append("a.log", "count\n")
    logs.take()
    assert logs.pieces == []
    logs.append("a.log", "x,1\n")
    logs.take()
    logs.append("a.log", "y,2\nz,3\n")
    logs.take()
    header = b"# made by us\nitem,count\n"
    assert logs.pieces == [header + b"x,1\n", header + b"y,2\nz,3\n"]


def test_a_compressed_log_is_left_and_said(logs: FollowedLogs) -> None:
    logs.append("access.log.2.gz", gzip.compress(b"one\n"))
    logs.append("wide.log", "one\n".encode("utf-16"))
    logs.append("access.log", "two\n")
    (look,) = logs.take()
    assert [name for name, _ in look.unreadable] == ["access.log.2.gz", "wide.log"]
    assert "compressed (gzip)" in look.unreadable[0][1]
    assert "UTF-16" in look.unreadable[1][1]
    assert logs.lines == ["two"]


def test_logs_of_odd_names_are_followed_each_by_itself(logs: FollowedLogs) -> None:
    logs.ledger.set_cursors("logs", [Cursor("s3://bucket/logs/", "what it was before")])
    odd = ["a@0-4.log", "a.log", "2:a.log", "new\nline.log", "caf\\xe9.log", "x" * 251 + ".log"]
    odd.append(os.fsdecode(b"caf\xe9.log"))
    for turn in range(2):
        for number, name in enumerate(odd):
            logs.append(name, f"{number} {turn}\n")
        logs.take()
    logs.rename("a.log", "a@2:0-4.log")
    logs.append("a.log", "1 2\n")
    logs.take()
    assert sorted(logs.lines) == sorted(["1 2", *(f"{n} {t}" for n in range(7) for t in range(2))])
    assert len(set(logs.names)) == 15


def test_a_log_that_may_not_be_read_keeps_no_other(
    logs: FollowedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.append("a.log", "a\n")
    logs.append("b.log", "b\n")
    opened = os.open

    def refuse(path: os.PathLike[str], *args: int) -> int:
        if os.fspath(path).endswith("b.log"):
            raise PermissionError(13, "Permission denied", path)
        return opened(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        (look,) = logs.take()
    assert look.unreadable == (("b.log", "Permission denied"),)
    logs.take()
    assert logs.lines == ["a", "b"]


def test_a_log_that_is_emptied_while_it_is_read_is_looked_at_again(logs: FollowedLogs) -> None:
    logs.append("access.log", "one\ntwo\n")
    look = logs.look()
    logs.truncate("access.log")
    logs.append("access.log", "three\n")
    taken = logs.intake.take("logs", logs.source, look.ready)
    assert (taken.receipts, [stat.name for stat in taken.changed]) == ((), ["access.log"])
    logs.take()
    assert logs.lines == ["three"]


def test_a_rotation_between_look_and_taking_is_noticed(logs: FollowedLogs) -> None:
    logs.append("access.log", "one\n")
    look = logs.look()
    logs.rename("access.log", "access.log.1")
    logs.append("access.log", "two\n")
    taken = logs.intake.take("logs", logs.source, look.ready)
    assert [stat.name for stat in taken.changed] == ["access.log"]
    logs.take()
    assert Counter(logs.lines) == {"one": 1, "two": 1}


# --- taken whole before

FILLING = "".join(f"line {number}\n" for number in range(40))


@pytest.fixture
def whole(tmp_path: Path) -> FollowedLogs:
    """A project whose source does not follow its logs yet."""
    return FollowedLogs(tmp_path, LOGS.model_copy(update={"follow": False}))


def test_what_was_taken_whole_before_it_was_followed_is_not_taken_again(
    whole: FollowedLogs,
) -> None:
    whole.append("access.log", "one\ntwo\n")
    whole.take()
    whole.follow()
    whole.take()
    whole.append("access.log", "three\n")
    whole.take()
    assert whole.lines == ["one", "two", "three"]
    assert whole.names == ["access.log", "access.log@8-14"]


@pytest.mark.parametrize("filling", [FILLING, "one\n"])
@pytest.mark.parametrize("pattern", ["*", "*.log"])
@pytest.mark.parametrize("by_copy", [False, True])
def test_a_log_taken_whole_and_then_rotated_goes_on(
    whole: FollowedLogs, filling: str, pattern: str, *, by_copy: bool
) -> None:
    whole.source = whole.source.model_copy(update={"patterns": (pattern,)})
    whole.append("a.log", filling)
    whole.take()
    whole.append("a.log", "rest\n")
    if by_copy:
        whole.copy("a.log", "a.log.1")
        whole.truncate("a.log")
    else:
        whole.rename("a.log", "a.log.1")
    whole.append("a.log", "new\n")
    whole.follow()
    whole.take()
    whole.restart(lose_ledger=True)
    whole.append("a.log", "newer\n")
    whole.take()
    assert Counter(whole.lines) == Counter([*filling.splitlines(), "rest", "new", "newer"])
    assert {f"a.log@{len(filling)}-{len(filling) + 5}", "a.log@2:0-4"} <= set(whole.names)


def test_a_log_taken_whole_goes_on_in_a_copy_of_the_project(whole: FollowedLogs) -> None:
    path = whole.append("a.log", FILLING)
    whole.append("b.log", "one\n")
    whole.take()
    for name in ("a.log", "b.log"):
        whole.copy(name, "copy")
        path.with_name(name).unlink()
        whole.rename("copy", name)
    whole.take()  # so that even few bytes are known by their name
    whole.append("a.log", "more\n")
    whole.append("b.log", "two\n")
    whole.follow()
    whole.take()
    assert Counter(whole.lines) == Counter([*FILLING.splitlines(), "more", "one", "two"])


def test_each_whole_delivery_is_of_one_log(whole: FollowedLogs) -> None:
    for more in ("started\n", f"{FILLING}"):
        whole.append("a.log", more)
        whole.take()
    whole.rename("a.log", "a.log.1")
    whole.append("a.log", "started\n")
    whole.take()
    whole.append("b.log", "started\nb\n")
    whole.append("c.log", f"started\n{FILLING}c\n")
    whole.copy("a.log.1", "backup.log")
    whole.follow()
    whole.append("a.log", "a\n")
    whole.take()
    filling = FILLING.splitlines()
    assert Counter(whole.lines) == Counter(["started"] * 4 + 2 * filling + ["a", "b", "c"])


@pytest.mark.parametrize("rotated", [False, True])
def test_a_line_that_was_taken_before_it_ended_is_taken_whole_in_its_place(
    whole: FollowedLogs, *, rotated: bool
) -> None:
    whole.append("a.log", "one\nhalf of ")
    whole.take()
    (half,) = whole.rows()
    if rotated:  # not the latest of its name any more
        whole.rename("a.log", "a.log.1")
        whole.append("a.log", "new\n")
        whole.take()
    path = whole.inbox / ("a.log.1" if rotated else "a.log")
    whole.follow()
    whole.take()
    assert len(whole.rows()) == (3 if rotated else 1)
    whole.append(path.name, "a line\nthree\n")
    whole.take()
    whole.restart(lose_ledger=True)
    whole.append(path.name, "four\n")
    whole.take()
    new = ["new"] if rotated else []
    assert sorted(whole.lines) == sorted(["one", "half of a line", "three", "four", *new])
    (again,) = (row for row in whole.rows() if row.replaces == half.delivery_id)
    assert (again.name, again.size_bytes) == ("a.log", 25)
    assert whole.names[-1] == "a.log@25-30"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_last_line_that_only_its_end_was_missing_of_stands(
    whole: FollowedLogs, line_end: str
) -> None:
    whole.append("a.log", "one\ntwo")
    whole.take()
    whole.follow()
    whole.append("a.log", f"{line_end}three\n")
    whole.take()
    assert whole.pieces == [b"one\ntwo", b"three\n"]


@pytest.mark.parametrize("done", ["revoked", "rejected"])
def test_a_line_is_whole_where_its_beginning_does_not_stand(whole: FollowedLogs, done: str) -> None:
    whole.append("a.log", "one\nhalf of ")
    whole.take()
    (row,) = whole.rows()
    if done == "revoked":
        whole.ledger.revoke([row.delivery_id])
    else:
        whole.ledger.reject(row.delivery_id, "cannot be read", "config")
    whole.follow()
    whole.append("a.log", "a line\n")
    whole.take()
    expected = {"revoked": "half of a line\n", "rejected": "one\nhalf of a line\n"}[done]
    assert whole.pieces[1:] == [expected.encode()]
    assert whole.names[1] == {"revoked": "a.log@4-19", "rejected": "a.log"}[done]


@pytest.mark.parametrize("done", ["revoked", "read anew", "rejected"])
def test_whatever_became_of_what_was_taken_whole_it_is_not_followed_again(
    whole: FollowedLogs, done: str
) -> None:
    whole.append("access.log", "one\ntwo\n")
    whole.take()
    (row,) = whole.rows()
    if done == "read anew":
        Receiving(whole.ledger, whole.spool, lambda: BEGAN).take_again(row, "access")
    if done == "rejected":
        whole.ledger.reject(row.delivery_id, "cannot be read", "config")
    else:
        whole.ledger.revoke([row.delivery_id])
    whole.append("access.log", "three\n")
    whole.follow()
    whole.take()
    assert whole.pieces[-1] == b"three\n"


def test_positions_of_logs_long_gone_are_forgotten(
    logs: FollowedLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_intake, "_KEPT_POSITIONS", 3)
    for number in range(7):
        logs.append("access.log", f"{number}\n")
        logs.take()
        logs.rename("access.log", "access.log.1" if number else "access.log.kept")
    logs.take()
    assert sorted(logs.ledger.cursors("logs")) == [
        "log:1:access.log",
        "log:5:access.log",
        "log:6:access.log",
        "log:7:access.log",
    ]
    logs.append("access.log", "7\n")
    logs.append("access.log.kept", "more\n")
    logs.take()
    assert sorted(logs.lines) == [*"01234567", "more"]
    assert logs.names[-1] in {"access.log@8:0-2", "access.log@2-7"}


def test_a_rejected_piece_is_told_of_while_its_log_lies_there(logs: FollowedLogs) -> None:
    path = logs.append("access.log", "one\n")
    logs.take()
    (row,) = logs.rows()
    logs.ledger.reject(row.delivery_id, "no lines", "config-1")
    assert [row.name for row in logs.look().rejected] == ["access.log@0-4"]
    logs.append("access.log", "two\n")
    logs.take()
    assert logs.pieces == [b"one\n", b"two\n"]
    path.unlink()
    assert logs.look().rejected == ()


def test_after_a_lost_ledger_nothing_is_taken_twice(logs: FollowedLogs) -> None:
    for number in range(3):
        logs.append("access.log", "same\n")
        logs.append("other.log", f"{number}\n")
        logs.take()
    before = [row.delivery_id for row in logs.rows()]
    logs.restart(lose_ledger=True)
    logs.append("access.log", "same\n")
    logs.take()
    assert [row.delivery_id for row in logs.rows()][:6] == before
    assert [row.state for row in logs.rows()] == [DeliveryState.RECEIVED] * 7
    assert Counter(logs.lines) == {"same": 4, "0": 1, "1": 1, "2": 1}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["before it is placed", "after it is placed", "after all"])
def test_a_crash_neither_skips_nor_doubles(
    logs: FollowedLogs, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    logs.append("access.log", "one\n")
    logs.take()
    logs.append("access.log", "two\n")
    place, record = Spool.place, logs.ledger.record

    def die(*args: object, **kwargs: object) -> None:
        if at == "after all":
            record(*args, **kwargs)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patched:
        if at == "before it is placed":
            patched.setattr(Spool, "place", die)
        else:
            patched.setattr(logs.ledger, "record", die)
        with pytest.raises(Killed):
            logs.take()
    assert Spool.place is place
    logs.restart()
    logs.append("access.log", "three\n")
    logs.take()
    assert logs.lines == ["one", "two", "three"]


# --- any order of things

APPEND, HALF, LOOK, ROTATE, COPY_AND_EMPTY, COPY, RESTART, LOSE_LEDGER, DROP_OLD = range(9)
LOOKING = (LOOK, COPY, DROP_OLD)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(APPEND), st.integers(1, 40)),
        st.tuples(st.just(LOOK), st.just(0)),
        st.tuples(
            st.sampled_from([HALF, ROTATE, COPY_AND_EMPTY, COPY, RESTART, LOSE_LEDGER, DROP_OLD]),
            st.just(0),
        ),
    ),
    min_size=3,
    max_size=14,
)
PATTERNS = st.sampled_from(["*.log", "*"])


@settings(max_examples=20, deadline=None)
@given(STEPS, PATTERNS, st.sampled_from([60, 10_000]))
@example([(APPEND, 9), (LOOK, 0), (COPY, 0), (APPEND, 3), (LOOK, 0), (COPY_AND_EMPTY, 0)], "*", 60)
@example([(APPEND, 1), (COPY_AND_EMPTY, 0), (LOOK, 0), (APPEND, 1), (ROTATE, 0)], "*.log", 60)
def test_any_appends_looks_and_rotations_give_each_line_once(
    steps: list[tuple[int, int]], pattern: str, piece_bytes: int
) -> None:
    _each_line_once([], steps, pattern, piece_bytes)


@settings(max_examples=20, deadline=None)
@given(STEPS, STEPS, PATTERNS)
@example([(APPEND, 9), (LOOK, 0), (APPEND, 1), (ROTATE, 0)], [(APPEND, 1), (LOOK, 0)], "*.log")
@example([(APPEND, 1), (LOOK, 0), (APPEND, 1), (COPY_AND_EMPTY, 0)], [(APPEND, 1)], "*")
@example([(APPEND, 1), (LOOK, 0), (ROTATE, 0), (APPEND, 1)], [(LOSE_LEDGER, 0)], "*")
@example([(APPEND, 1), (HALF, 0), (LOOK, 0), (APPEND, 1), (ROTATE, 0)], [(APPEND, 1)], "*.log")
def test_a_log_followed_from_any_moment_on_gives_each_line_once(
    before: list[tuple[int, int]], after: list[tuple[int, int]], pattern: str
) -> None:
    _each_line_once(before, after, pattern, 10_000)


def _each_line_once(
    before: list[tuple[int, int]], after: list[tuple[int, int]], pattern: str, piece_bytes: int
) -> None:
    """Do what the steps say with `a.log`, which is taken whole before, and followed after."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(os, "fsync", lambda _: None)
        patched.setattr(follow_intake, "PIECE_BYTES", piece_bytes)
        source = LOGS.model_copy(update={"patterns": (pattern,), "follow": not before})
        logs = FollowedLogs(Path(folder), source, hasty=True)
        log = _OneLog(logs)
        for number, (step, count) in enumerate(before):
            log.is_looked_at = any(later in LOOKING for later, _ in before[number:])
            log.do(step, count)
        log.is_looked_at = False
        for step, count in after:
            log.follow()
            log.do(step, count)
        log.append(1)  # where it was rotated last, that is known by it
        logs.take()
        # The end of a rotated one is known once it has settled, after its lines.
        logs.take()
        assert Counter(logs.lines) == Counter(log.written)
        assert len(set(logs.names)) == len(logs.names) or before


class _OneLog:
    """`a.log`, its writer and who rotates it.

    `is_looked_at`: it will be taken whole once more.
    """

    def __init__(self, logs: FollowedLogs) -> None:
        self.logs = logs
        self.written: list[str] = []
        self.path = logs.inbox / "a.log"
        self.rotations = 0
        self.seen = False
        self.is_looked_at = False
        self.begun = ""

    def follow(self) -> None:
        if not self.logs.source.follow:
            self.logs.follow()

    def do(self, step: int, count: int) -> None:
        if step == APPEND:
            self.append(count)
        elif step == HALF:
            self.begin_line()
        elif step in (RESTART, LOSE_LEDGER):
            self.logs.restart(lose_ledger=step == LOSE_LEDGER)
        elif not self.path.exists():
            return
        elif step in (ROTATE, COPY_AND_EMPTY):
            self.rotate(by_copy=step == COPY_AND_EMPTY)
        else:
            self.take()
            if step == COPY:
                # Not before the look: it would not be known which is the log, which the copy.
                self.logs.copy("a.log", "a.log.backup")
            elif step == DROP_OLD:
                for old in self.logs.inbox.glob("a.log.*"):
                    old.unlink()

    def append(self, count: int) -> None:
        for _ in range(count):
            self.begin_line()
            self.end_line()

    def begin_line(self) -> None:
        if not self.begun:
            self.begun = f"{len(self.written)} begun"
            self.logs.append("a.log", self.begun)

    def end_line(self) -> None:
        if self.begun:
            rest = "x" * (len(self.written) * 7 % 50)
            self.logs.append("a.log", f"{rest}\n")
            self.written.append(self.begun + rest)
            self.begun = ""

    def take(self) -> None:
        data = self.path.read_bytes()
        # Of the beginning of its first line nothing is known as long as it is followed.
        self.seen = self.seen or (b"\n" in data if self.logs.source.follow else data != b"")
        self.logs.take()

    def rotate(self, *, by_copy: bool) -> None:
        if self.is_looked_at:
            self.take()  # else what came last would be taken whole, under its new name again
        elif not self.seen and self.logs.source.patterns == ("*.log",):
            self.follow()
            self.end_line()
            self.take()  # else what no pattern wants was never seen under another name
        if self.begun:  # what its writer goes on with is in the next file
            self.written.append(self.begun)
            self.begun = ""
        self.seen = False
        self.rotations += 1
        rotated = f"a.log.{self.rotations}"
        if by_copy:
            self.logs.copy("a.log", rotated)
            self.logs.truncate("a.log")
        else:
            self.logs.rename("a.log", rotated)
