"""The journal: what was acknowledged is there after any crash, in order, once."""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.producers.webhook.journal import DAMAGED_PREFIX, Journal, JournalClosedError, Position
from headrace.producers.webhook.journal_segment import (
    HEADER_BYTES,
    Damage,
    Frame,
    frame_head,
    marker_of,
    new_header,
    read_frames,
)

ALL = (1_000_000, 10**9)


def payloads(journal: Journal) -> list[bytes]:
    found = journal.read(*ALL)
    return [] if found is None else list(found.payloads)


async def append(journal: Journal, *data: bytes) -> None:
    await asyncio.gather(*(journal.append(one) for one in data))


def there(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(".calls-*"))


async def test_many_calls_share_one_sync(tmp_path: Path) -> None:
    syncs = 0

    def sync(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fdatasync(descriptor)

    heard: list[int] = []
    journal = Journal(tmp_path / "hooks", sync=sync)
    wanted = [b"%d" % number for number in range(500)]
    with journal.heard(lambda: heard.append(1)):
        await append(journal, *wanted)
    assert payloads(journal) == wanted
    assert syncs == 1 + len(heard)  # a new segment's header, and the groups
    assert syncs < 10
    journal.close()


async def test_nothing_is_acknowledged_before_it_is_on_disk(tmp_path: Path) -> None:
    on_disk: list[int] = []
    journal = Journal(tmp_path, sync=lambda fd: on_disk.append(os.fstat(fd).st_size))
    await journal.append(b"x" * 1_000)
    assert on_disk[-1] > 1_000
    journal.close()


async def test_another_process_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    await append(first, b"a", b"b", b"c")
    read = first.read(2, 10**9)
    assert read is not None
    assert read.payloads == (b"a", b"b")
    second = Journal(tmp_path)  # the first was killed
    second.go_on_from(Position.parse(str(read.position)))
    await second.append(b"d")
    assert payloads(second) == [b"c", b"d"]
    assert len(segments(tmp_path)) == 2
    read = second.read(*ALL)
    assert read is not None
    second.read_away(read.position)
    assert payloads(second) == []
    assert second.waiting_bytes == 0
    assert len(segments(tmp_path)) == 1  # the open one
    second.close()
    third = Journal(tmp_path)
    third.go_on_from(read.position)
    assert payloads(third) == []


async def test_what_is_read_away_is_removed_segment_by_segment(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=100)
    for number in range(10):
        await journal.append(b"%d" % number * 50)
    assert len(segments(tmp_path)) == 5
    assert journal.waiting_bytes > 500
    seen = []
    while (read := journal.read(3, 10**9)) is not None:
        seen += list(read.payloads)
        journal.read_away(read.position)
    assert seen == [b"%d" % number * 50 for number in range(10)]
    assert segments(tmp_path) == []
    assert journal.waiting_bytes == 0
    journal.close()


async def test_a_torn_tail_is_passed_over_and_does_not_stay(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await append(journal, b"a" * 100, b"b" * 100)
    journal.close()
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 100, HEADER_BYTES + 116 + 3, HEADER_BYTES - 2, 0):
        segment.write_bytes(whole[:cut])
        after = Journal(tmp_path)
        read = after.read(*ALL)
        assert read is not None
        assert list(read.payloads) == ([b"a" * 100] if cut > HEADER_BYTES else [])
        after.read_away(read.position)
        assert after.waiting_bytes == 0
        assert segments(tmp_path) == []
        assert there(tmp_path) == []


async def test_a_full_disk_is_told_and_what_was_written_halfway_is_not_there(
    tmp_path: Path,
) -> None:
    fails = False

    def sync(descriptor: int) -> None:
        if fails:
            raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path, sync=sync)
    await journal.append(b"before")
    fails = True
    with pytest.raises(OSError, match="No space") as raised:
        await journal.append(b"refused")
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        await journal.append(b"refused too")
    fails = False
    await journal.append(b"after")
    assert payloads(journal) == [b"before", b"after"]
    assert payloads(Journal(tmp_path)) == [b"before", b"after"]
    journal.close()


async def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await journal.append(b"a")
    journal.close()
    with pytest.raises(JournalClosedError):
        await journal.append(b"b")
    assert payloads(Journal(tmp_path)) == [b"a"]


async def test_a_caller_that_hangs_up_takes_nobody_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    gone = asyncio.create_task(journal.append(b"gone"))
    stays = asyncio.create_task(journal.append(b"stays"))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert payloads(journal) == [b"gone", b"stays"]
    journal.close()


async def test_segments_stay_in_order_where_the_clock_is_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, segment_bytes=1)
    await journal.append(b"a")
    monkeypatch.setattr("headrace.producers.webhook.journal.time.time_ns", lambda: 5)
    await journal.append(b"b")
    journal.close()
    assert payloads(Journal(tmp_path)) == [b"a", b"b"]


async def test_a_damaged_frame_costs_that_frame_and_is_kept_to_look_at(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await append(journal, b"a" * 100, b"b" * 100, b"c" * 100)
    journal.close()
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[HEADER_BYTES + 116 + 50] ^= 1
    segment.write_bytes(data)
    after = Journal(tmp_path)
    read = after.read(*ALL)
    assert read is not None
    assert list(read.payloads) == [b"a" * 100, b"c" * 100]
    after.read_away(read.position)
    (kept,) = there(tmp_path)
    assert kept.name.startswith(DAMAGED_PREFIX)
    assert kept.read_bytes() == bytes(data)


@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_however_a_segment_is_damaged_only_whole_frames_come_out_of_it(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], data: st.DataObject
) -> None:
    header = new_header()
    marker = marker_of(header)
    assert marker is not None
    # A body may hold what a frame begins with, of another segment.
    bodies = [*bodies, new_header() + b"x"]
    whole = header + b"".join(frame_head(marker, body) + body for body in bodies)
    ends = [HEADER_BYTES]
    for body in bodies:
        ends.append(ends[-1] + 16 + len(body))
    cut = data.draw(st.integers(0, len(whole)))
    flipped = data.draw(st.none() | st.integers(0, len(whole) - 1))
    changed = bytearray(whole[:cut])
    if flipped is not None and flipped < cut:
        changed[flipped] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "segment"
    path.write_bytes(changed)
    with path.open("rb") as file:
        found = list(read_frames(file, 0, len(changed)))
    assert found == [] or found[-1].end == len(changed)
    intact = [
        body
        for body, start, end in zip(bodies, ends, ends[1:], strict=False)
        if end <= cut
        and (flipped is None or not (start <= flipped < end or flipped < HEADER_BYTES))
    ]
    assert [item.payload for item in found if isinstance(item, Frame)] == intact
    for before, item in pairwise(found):
        if isinstance(item, Damage):
            assert item.start == before.end


@pytest.mark.parametrize("text", ["", "x", ":1", "x:", "x:-1", "x:y", "x:²"])
def test_what_is_no_position_is_none(text: str) -> None:
    assert Position.parse(text) is None
