"""A role's log: whole lines, bounded, and read back without loss while it is rotated."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.infra.role_log import RoleLog, text_stream
from headrace.infra.role_log_lines import LogLine, RoleLogReader, merge


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


def test_a_log_is_bounded_and_keeps_whole_lines(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "logs" / "consume.log", max_bytes=1_000, kept_files=2)
    log.copy(io.BytesIO(b"".join(b"line %04d of many\n" % n for n in range(500))))
    kept = files(log.path)
    assert [path.name for path in kept] == ["consume.log", "consume.log.1", "consume.log.2"]
    assert all(path.stat().st_size <= 1_000 for path in kept)
    written = "".join(path.read_text() for path in reversed(kept)).splitlines()
    assert written == [f"line {n:04} of many" for n in range(500 - len(written), 500)]
    assert len(written) > 100


def test_a_line_that_never_ends_is_cut_rather_than_held(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "a.log")
    log.copy(io.BytesIO(b"x" * 2_500_000))
    assert [len(line) for line in log.path.read_text().splitlines()] == [1_000_000] * 2 + [500_000]


def test_bytes_that_are_no_text_are_kept_as_far_as_they_are(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "a.log")
    log.copy(io.BytesIO(b"caf\xe9\r\nna\xc3\xafve\n"))
    assert log.path.read_text() == "caf\N{REPLACEMENT CHARACTER}\nnaïve\n"


def test_a_log_that_cannot_be_written_is_in_nobodys_way(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "logs" / "a.log")
    (tmp_path / "logs").rmdir()
    (tmp_path / "logs").write_text("a file where the folder was")
    log.copy(io.BytesIO(b"lost\n" * 1_000))
    assert log.last_words == "lost"


def test_the_last_words_are_a_crashs_and_no_log_line(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "a.log")
    log.copy(io.BytesIO(b'Traceback:\nKeyError: 1\n{"event": "x"}\n\n'))
    assert log.last_words == "KeyError: 1"
    log.copy(io.BytesIO(b'{"event": "x"}\n'))
    assert log.last_words == ""


def test_what_a_dying_interpreter_writes_follows_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    program = f"""
import os
from pathlib import Path
from headrace.infra.role_log import RoleLog, text_stream
log = RoleLog(Path({str(path)!r}), max_bytes=100, standard_error=True)
print("x" * 80, file=text_stream(log))
print("y" * 80, file=text_stream(log))
os.write(2, b"its last moments\\n")
"""
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
    assert path.read_text().splitlines() == ["y" * 80, "its last moments"]
    assert (tmp_path / "supervisor.log.1").read_text().strip() == "x" * 80


def test_the_last_lines_reach_back_over_older_files(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "a.log", max_bytes=200, kept_files=3)
    log.copy(io.BytesIO(b"".join(b"line %04d\n" % n for n in range(75))))
    assert len(files(log.path)) == 4
    for count in (0, 1, 25, 60):
        expected = [f"line {n:04}" for n in range(75 - count, 75)]
        assert texts(RoleLogReader("a", log.path).last(count)) == expected
    everything = texts(RoleLogReader("a", log.path).last(10_000))
    assert everything[-60:] == [f"line {n:04}" for n in range(15, 75)]
    assert texts(RoleLogReader("a", tmp_path / "none.log").last(5)) == []


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("".join(f"{n:0100}\n" for n in range(5_000)))
    assert [int(text) for text in texts(RoleLogReader("a", path).last(1_500))] == list(
        range(3_500, 5_000)
    )


@settings(max_examples=50, deadline=None)
@given(
    before=st.integers(0, 30),
    looks=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    count=st.integers(0, 40),
)
def test_following_loses_and_repeats_nothing(before: int, looks: list[int], count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = RoleLog(Path(folder) / "a.log", max_bytes=150, kept_files=5)
        reader = RoleLogReader("a", log.path)
        number = 0
        for _ in range(before):
            log.write(b"line %04d" % number)
            number += 1
        seen = texts(reader.last(count))
        first = before - len(seen)
        for written in looks:
            for _ in range(written):
                log.write(b"line %04d" % number)
                number += 1
            seen += texts(reader.new())
        assert seen == [f"line {n:04}" for n in range(first, number)]


def test_a_line_is_told_when_it_has_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("whole\nhal")
    reader = RoleLogReader("a", path)
    assert texts(reader.last(5)) == ["whole"]
    assert texts(reader.new()) == []
    with path.open("a") as file:
        file.write("f\nnext\n")
    assert texts(reader.new()) == ["half", "next"]


def test_a_log_that_begins_later_is_followed_from_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    reader = RoleLogReader("a", path)
    assert reader.last(5) == []
    assert reader.new() == []
    path.write_text("first\n")
    assert texts(reader.new()) == ["first"]


def entry(second: int, event: str) -> str:
    return json.dumps({"event": event, "timestamp": f"2026-01-01T00:00:{second:02}.000000Z"})


def test_roles_are_merged_by_time_and_a_traceback_stays_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one.log", tmp_path / "two.log"
    one.write_text(f"{entry(1, 'a')}\nTraceback\n  line\n{entry(5, 'd')}\n")
    two.write_text(f"{entry(2, 'b')}\n{entry(3, 'c')}\n")
    lines = merge([RoleLogReader("one", one).last(9), RoleLogReader("two", two).last(9)])
    assert [line.fields.get("event", line.text) for line in lines] == [
        *("a", "Traceback", "  line"),
        *("b", "c", "d"),
    ]


def test_a_stream_writes_each_message_as_lines(tmp_path: Path) -> None:
    log = RoleLog(tmp_path / "a.log")
    stream = text_stream(log)
    assert not stream.isatty()
    stream.write("one\ntwo\n")
    stream.flush()
    assert log.path.read_text() == "one\ntwo\n"
    assert os.fstat(2).st_ino != log.path.stat().st_ino
