"""The journal: what was acknowledged is there after any crash, in order, once."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headrace.producers.webhook.journal import Journal, JournalClosedError, Position
from headrace.producers.webhook.journal_damage import DAMAGED_PREFIX
from headrace.producers.webhook.journal_segment import (
    HEADER_BYTES,
    Damage,
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


async def test_what_a_killed_process_could_not_remove_the_next_one_does(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    await append(first, b"a", b"b")
    first.close()
    (segment,) = segments(tmp_path)
    end = Position(segment.name, segment.stat().st_size)
    for position, left in ((Position(segment.name, end.offset - 1), 1), (end, 0)):
        second = Journal(tmp_path)
        second.go_on_from(position)
        assert len(there(tmp_path)) == left
    assert second.read(*ALL) is None
    assert second.waiting_bytes == 0


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


def flip(path: Path, place: int, bits: int = 1) -> bytes:
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)
    return bytes(data)


def adopt_all(folder: Path) -> tuple[list[bytes], list[Any]]:
    """What the next process adopts of a journal, and what it tells of the rest."""
    journal = Journal(folder)
    adopted: list[bytes] = []
    with capture_logs() as lines:
        while (read := journal.read(2, 10**9)) is not None:
            adopted += read.payloads
            journal.read_away(read.position)
    journal.close()
    return adopted, lines


CALLS = [b"a" * 100, b"", b"b" * 100]


async def written(folder: Path) -> Path:
    """A segment with these calls, all acknowledged."""
    journal = Journal(folder)
    await append(journal, *CALLS)
    journal.close()
    (segment,) = segments(folder)
    return segment


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("place", [*range(HEADER_BYTES), *range(HEADER_BYTES, HEADER_BYTES + 8)])
async def test_a_damaged_header_costs_no_call(tmp_path: Path, named: bool, place: int) -> None:
    segment = await written(tmp_path)
    if not named:  # as former versions called it
        segment = segment.rename(tmp_path / f"{segment.name[:28]}0badf00d")
    damaged = flip(segment, place)
    adopted, told = adopt_all(tmp_path)
    assert adopted == CALLS
    assert [line["log_level"] for line in told] == ["error"]
    (kept,) = there(tmp_path)
    assert (kept.name.startswith(DAMAGED_PREFIX), kept.read_bytes()) == (True, damaged)


@pytest.mark.parametrize("links", [True, False])
async def test_a_segment_of_which_nothing_can_be_read_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    segment = await written(tmp_path)
    nothing = bytes(segment.stat().st_size)
    segment.write_bytes(nothing)
    adopted, told = adopt_all(tmp_path)
    assert adopted == []
    assert [(line["event"], line["bytes"]) for line in told] == [("journal_damaged", len(nothing))]
    (kept,) = there(tmp_path)
    assert (kept.name.startswith(DAMAGED_PREFIX), kept.read_bytes()) == (True, nothing)


async def test_what_cannot_be_kept_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    segment = await written(tmp_path)
    damaged = flip(segment, HEADER_BYTES + 20)
    with monkeypatch.context() as full:
        full.setattr(Path, "hardlink_to", refuse)
        full.setattr("headrace.producers.webhook.journal_damage.shutil.copyfile", refuse)
        with pytest.raises(OSError, match="No space"):
            adopt_all(tmp_path)
    assert segment.read_bytes() == damaged
    adopted, _ = adopt_all(tmp_path)
    assert adopted == CALLS[1:]


async def test_a_segment_of_another_version_is_left_to_that(tmp_path: Path) -> None:
    await written(tmp_path)
    later = tmp_path / ".calls-00000000000000000001-0123456789abcdef"
    later.write_bytes(b"HRCALLS2" + b"whatever that may be")
    for there_are in (CALLS, []):
        adopted, told = adopt_all(tmp_path)
        assert adopted == there_are
        assert [line["event"] for line in told] == ["journal_of_another_version"]
        assert there(tmp_path) == [later]


async def test_the_last_call_is_not_taken_for_half_written(tmp_path: Path) -> None:
    """Its length says that there is more to come: damaged, as its CRC fits what is there."""
    segment = await written(tmp_path)
    flip(segment, segment.stat().st_size - 100 - 8, 0x40)
    assert adopt_all(tmp_path)[0] == CALLS


async def test_what_this_process_acknowledged_is_never_a_torn_tail(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await append(journal, *CALLS)
    (segment,) = segments(tmp_path)
    os.truncate(segment, segment.stat().st_size - 1)
    with capture_logs() as told:
        assert payloads(journal) == CALLS[:2]
    assert [line["event"] for line in told] == ["journal_damaged"]
    assert len(there(tmp_path)) == 2
    journal.close()


async def test_a_segment_that_ends_before_what_was_read_of_it_is_told(tmp_path: Path) -> None:
    segment = await written(tmp_path)
    os.truncate(segment, HEADER_BYTES + 50)
    journal = Journal(tmp_path)
    journal.go_on_from(Position(segment.name, HEADER_BYTES + 116))
    with capture_logs() as told:
        read = journal.read(*ALL)
    assert read is not None
    assert read.payloads == ()
    assert [line["event"] for line in told] == ["journal_cut_short"]


@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans(), st.data())
def test_whatever_happens_to_a_segment_it_loses_what_is_damaged_and_nothing_silently(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], named: bool, data: st.DataObject
) -> None:
    """Bytes flipped, a stretch overwritten, the end cut off: all in one, or none."""
    folder = tmp_path_factory.mktemp("journal")
    header = new_header()
    marker = marker_of(header)
    assert marker is not None
    # A body may hold what a frame begins with, of another segment.
    bodies = [*bodies, new_header() + b"x"]
    whole = header + b"".join(frame_head(marker, body) + body for body in bodies)
    ends = list(accumulate((16 + len(body) for body in bodies), initial=HEADER_BYTES))
    changed = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for place in data.draw(st.lists(places, max_size=2)):
        changed[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        first, length = data.draw(places), data.draw(st.integers(1, 80))
        stretch = whole[first : first + length]
        changed[first : first + length] = data.draw(
            st.sampled_from([bytes(len(stretch)), b"\xff" * len(stretch), stretch[::-1]])
        )
    cut = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    del changed[cut:]
    (folder / f".calls-{1:020}-{marker.hex() if named else '0badf00d'}").write_bytes(changed)

    adopted, told = adopt_all(folder)

    intact = [
        body
        for body, start, end in zip(bodies, ends, ends[1:], strict=False)
        if changed[start:end] == whole[start:end]
    ]
    if named or changed.startswith(header):
        rest = iter(adopted)
        assert all(body in rest for body in intact), "lost, or not in order"
    assert Counter(adopted) <= Counter(bodies), "made up"
    errors = [line for line in told if line["log_level"] == "error"]
    begins = header if named else header[:8]
    torn = cut < HEADER_BYTES and begins.startswith(changed[: len(begins)])
    torn |= any(
        changed[:end] == whole[:end] and looks_torn(changed[end:], marker)
        for end in ends
        if end < cut
    )
    if torn and [line["event"] for line in told] == ["journal_tail_cut"]:
        assert there(folder) == []  # whether it was acknowledged, nobody can say
    elif changed != whole[:cut] and (named or cut >= ends[1]):
        assert errors
        (kept,) = there(folder)
        assert kept.read_bytes() == changed
    elif changed == whole[:cut]:
        assert (told, there(folder)) == ([], [])


def looks_torn(tail: bytearray, marker: bytes) -> bool:
    """Whether these bytes are what a write of a frame that was not finished leaves."""
    length = int.from_bytes(tail[8:12])
    return marker.startswith(tail[:8]) and (len(tail) < 16 or len(tail) - 16 < length <= 2**30 - 16)


@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_each_byte_of_a_segment_is_in_one_frame_or_one_damage(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], data: st.DataObject
) -> None:
    header = new_header()
    marker = marker_of(header)
    assert marker is not None
    whole = bytearray(header + b"".join(frame_head(marker, body) + body for body in bodies))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "segment"
    path.write_bytes(whole)
    with path.open("rb") as file:
        found = list(read_frames(file, 0, len(whole), marker))
    covered = 0 if found and isinstance(found[0], Damage) and not found[0].start else HEADER_BYTES
    for item in found:
        start = item.start if isinstance(item, Damage) else covered
        assert start == covered
        length = None if isinstance(item, Damage) else len(item.payload)
        assert length is None or item.end - covered in (length, length + 16)
        covered = item.end
    assert covered == len(whole)


@pytest.mark.parametrize("text", ["", "x", ":1", "x:", "x:-1", "x:y", "x:²"])
def test_what_is_no_position_is_none(text: str) -> None:
    assert Position.parse(text) is None
