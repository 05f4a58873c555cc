"""Which file goes on with which log: decided from inodes, names and bytes, no disk."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from headrace.producers.following.log_matching import Matched, is_rotated, match_logs
from headrace.producers.following.log_position import COMPARED_BYTES, LogPosition, beginning_of


@dataclass(frozen=True)
class Bytes:
    """A file in memory."""

    name: str
    inode: int
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def size_now(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


def text(first: int, last: int) -> bytes:
    """These lines of an endless log."""
    return b"".join(b"%05d of the log\n" % number for number in range(first, last))


def taken(file: Bytes, *offsets: int, number: int = 1) -> LogPosition:
    """A log that was taken out of this file, piece by piece to these offsets; else to its end."""
    position = beginning_of(file.name, number, file.name, file.inode)
    for offset in offsets or (file.size,):
        position = position.moved_to(offset, file.name, file.inode, file.read)
    return position


def result(matched: Matched[Bytes]) -> tuple[dict[str, str], list[str], list[str]]:
    """Names: where logs go on, fresh ones, copies."""
    return (
        {key: file.name for key, (file, _) in matched.going_on.items()},
        [file.name for file in matched.fresh],
        [file.name for file in matched.copies],
    )


OLD = Bytes("a.log", 1, text(0, 100))
KEY = "log:1:a.log"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([OLD], ({KEY: "a.log"}, [], [])),
        ([Bytes("a.log", 1, text(0, 200))], ({KEY: "a.log"}, [], [])),
        # renamed, and another in its place
        (
            [Bytes("a.log.1", 1, text(0, 120)), Bytes("a.log", 2, text(120, 130))],
            ({KEY: "a.log.1"}, ["a.log"], []),
        ),
        # copied and emptied
        (
            [Bytes("a.log", 1, text(120, 130)), Bytes("a.log.1", 2, text(0, 120))],
            ({KEY: "a.log.1"}, ["a.log"], []),
        ),
        (
            [Bytes("a.log", 1, b""), Bytes("a.log.1", 2, OLD.data)],
            ({KEY: "a.log.1"}, ["a.log"], []),
        ),
        # copied, not emptied yet; and the copy is not done yet
        (
            [Bytes("a.log", 1, text(0, 130)), Bytes("a.log.1", 2, text(0, 120))],
            ({KEY: "a.log"}, [], ["a.log.1"]),
        ),
        ([OLD, Bytes("a.log.1", 2, OLD.data[:1_300])], ({KEY: "a.log"}, [], ["a.log.1"])),
        ([OLD, Bytes("a.log.1", 2, b"")], ({KEY: "a.log"}, ["a.log.1"], [])),
        # a second name for it, two copies
        ([OLD, Bytes("b.log", 1, OLD.data)], ({KEY: "a.log"}, [], ["b.log"])),
        (
            [Bytes("b.log", 2, OLD.data), Bytes("c.log", 3, OLD.data), Bytes("a.log", 1, b"x\n")],
            ({KEY: "b.log"}, ["a.log"], ["c.log"]),
        ),
        # longer than the log that still stands: another one
        ([OLD, Bytes("b.log", 2, text(0, 150))], ({KEY: "a.log"}, ["b.log"], [])),
        # begins alike and differs later
        ([OLD, Bytes("b.log", 2, text(0, 80) + b"else\n")], ({KEY: "a.log"}, ["b.log"], [])),
        # the inode is another log's now
        ([Bytes("x.log", 1, b"else\n" * 900)], ({}, ["x.log"], [])),
        # moved to another file system, and grown there
        ([Bytes("b.log", 9, text(0, 101))], ({KEY: "b.log"}, [], [])),
        # gone
        ([], ({}, [], [])),
    ],
)
def test_a_log_is_known_again(
    files: list[Bytes], expected: tuple[dict[str, str], list[str], list[str]]
) -> None:
    positions = [taken(OLD, 1_275, OLD.size)]
    for order in (files, files[::-1]):
        going_on, fresh, copies = result(match_logs(order, [], positions))
        assert (going_on, sorted(fresh), sorted(copies)) == expected


def test_what_no_pattern_wants_is_looked_at_for_the_rest_of_a_log_alone() -> None:
    rotated = Bytes("a.log.1", 1, text(0, 120))
    unrelated = Bytes("b.txt", 5, b"x" * 100)
    fresh = Bytes("a.log", 2, text(120, 130))
    matched = match_logs([fresh], [unrelated, rotated], [taken(OLD)])
    assert result(matched) == ({KEY: "a.log.1"}, ["a.log"], [])
    copy = Bytes("a-2026.log", 7, text(0, 120))
    emptied = Bytes("a.log", 1, text(120, 130))
    matched = match_logs([emptied], [unrelated, copy], [taken(OLD)])
    assert result(matched) == ({KEY: "a-2026.log"}, ["a.log"], [])
    matched = match_logs([OLD], [copy], [taken(OLD)])
    assert result(matched) == ({KEY: "a.log"}, [], [])


def test_of_a_log_that_is_gone_a_few_bytes_are_no_proof() -> None:
    greeting = Bytes("a.log", 1, b"started\n")
    again = Bytes("a.log", 2, b"started\nworking\n")
    assert result(match_logs([again], [], [taken(greeting)])) == ({}, ["a.log"], [])
    # Emptied in its place, they are.
    copied = Bytes("a.log.1", 2, b"started\nworking\n")
    emptied = Bytes("a.log", 1, b"anew\n")
    assert result(match_logs([copied, emptied], [], [taken(greeting)])) == (
        {KEY: "a.log.1"},
        ["a.log"],
        [],
    )


def test_the_latest_log_of_an_inode_comes_first() -> None:
    first = taken(Bytes("a.log", 1, b"x\n"))
    second = taken(Bytes("a.log", 1, b"x\ny\n"), number=2)
    now = Bytes("a.log", 1, b"x\ny\nz\n")
    assert result(match_logs([now], [], [first, second])) == ({"log:2:a.log": "a.log"}, [], [])


def test_a_position_is_bounded_and_keeps_what_a_short_copy_is_known_by() -> None:
    offsets = range(17, OLD.size + 1, 17)
    position = taken(OLD, *offsets)
    assert position.offset == OLD.size
    assert len(position.checkpoints) < 32
    assert position.head.offset == COMPARED_BYTES
    for size in offsets[4:-1]:
        short = Bytes("b.log", 2, OLD.data[:size])
        assert position.began_as(size, short.read)
        other = Bytes("b.log", 2, b"!" + OLD.data[1:size])
        assert not position.began_as(size, other.read)
    assert LogPosition.from_json(position.to_json()) == position
    # As they were written before a log could have been taken whole.
    fields = json.loads(position.to_json())
    before = {key: fields[key] for key in fields if key not in ("whole", "unfinished")}
    assert LogPosition.from_json(json.dumps(before)) == position


@pytest.mark.parametrize(
    ("name", "born", "others", "rotated"),
    [
        ("a.log", "a.log", {"b.log": 2}, False),
        # renamed: a number or a date says so, or what stands in its place
        ("a.log.1", "a.log", {}, True),
        ("a.log.1", "a.log", {"a.log": 2}, True),
        ("b.txt", "a.log", {"a.log": 2}, True),
        ("b.txt", "a.log", {}, False),
        # a second name for it, not another file
        ("b.txt", "a.log", {"a.log": 1}, False),
        ("web-20260301", "web-20260301", {"web": 1}, False),
        ("web-20260301", "web", {"web": 1}, False),
        ("web-20260301", "web-20260301", {"web": 2}, True),
        # not seen before
        ("a.log.1", "a.log.1", {"a.log": 2}, True),
        ("a.log.1", "a.log.1", {}, False),
        ("a.log-20260301", "a.log-20260301", {"a.log": 2}, True),
        ("a.log.2026-03-01T13:00", "a.log.2026-03-01T13:00", {"a.log": 2}, True),
        ("a.log.OLD", "a.log.OLD", {"a.log": 2}, True),
        ("web-errors", "web-errors", {"web": 2}, False),
        ("web.2nd", "web.2nd", {"web": 2}, False),
        ("a.log2", "a.log2", {"a.log": 2}, False),
        ("x/a.log.1", "x/a.log.1", {"a.log": 2}, False),
    ],
)
def test_a_log_is_rotated_where_another_one_took_its_place(
    name: str, born: str, others: dict[str, int], *, rotated: bool
) -> None:
    position = beginning_of(born, 1, born, 1)
    assert is_rotated(Bytes(name, 1, b""), position, {name: 1, **others}) is rotated
