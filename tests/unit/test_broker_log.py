"""The embedded broker's log: what was appended is there, and a torn end costs the end alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.infra.broker.errors import DataFolderLostError, RequestRefusedError
from headrace.infra.broker.log import LogWriteError, PartitionLog
from headrace.infra.broker.record_batch import check_batch, iter_headers, read_header
from headrace.infra.broker.settings import BrokerSettings
from headrace.infra.broker.sidecar import sidecar_of
from headrace.infra.broker.timestamps import first_offset_at
from support.record_batches import batch, batches_of, put

SMALL = BrokerSettings(segment_bytes=2_000, index_interval_bytes=300)


def last_segment(folder: Path) -> Path:
    return max(folder.glob("*.log"))


sizes = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400)), min_size=1, max_size=20)


def filled(folder: Path, shapes: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """A log with a batch of (records, bytes each) per shape, closed; what it holds."""
    log = PartitionLog(folder, SMALL)
    sent = []
    for count, size in shapes:
        records = batch([os.urandom(size)] * count)
        sent.append((put(log, records), records[8:]))
    assert batches_of(log) == sent
    log.close()
    return sent


@given(shapes=sizes)
@settings(max_examples=60, deadline=None)
def test_what_was_appended_is_there_after_opening_again(shapes: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sent = filled(Path(folder), shapes)
        log = PartitionLog(Path(folder), SMALL)
        assert batches_of(log) == sent
        assert log.next_offset == sum(count for count, _ in shapes)
        log.close()


@given(shapes=sizes, where=st.floats(0, 1), garbage=st.binary(max_size=100))
@settings(max_examples=120, deadline=None)
def test_a_torn_last_segment_leaves_a_prefix_that_can_be_continued(
    shapes: list[tuple[int, int]], where: float, garbage: bytes
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sent = filled(folder, shapes)
        path = last_segment(folder)
        kept = path.read_bytes()[: round(where * path.stat().st_size)]
        path.write_bytes(kept + garbage)
        whole = int(path.stem) if not kept else [*iter_headers(kept)]
        log = PartitionLog(folder, SMALL)
        found = batches_of(log)
        assert found == sent[: len(found)]
        before = [entry for entry in sent if entry[0] < int(path.stem)]
        assert len(found) == len(before) + (len(whole) if isinstance(whole, list) else 0)
        more = batch([b"more"])
        offset = put(log, more)
        assert batches_of(log) == [*found, (offset, more[8:])]
        log.close()


@given(shapes=sizes, at=st.integers(0, 10**6), bit=st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_in_the_last_segment_is_never_served(
    shapes: list[tuple[int, int]], at: int, bit: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sent = filled(folder, shapes)
        path = last_segment(folder)
        data = bytearray(path.read_bytes())
        at %= len(data)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        log = PartitionLog(folder, SMALL)
        # The leader epoch (bytes 12-15 of a batch) is no part of the checksum, nor of the data.
        mine = [(offset, body[:4] + body[8:]) for offset, body in batches_of(log)]
        assert mine == [(o, body[:4] + body[8:]) for o, body in sent[: len(mine)]]
        log.close()


def test_closed_segments_are_taken_from_their_sidecars_or_read_again(tmp_path: Path) -> None:
    sent = filled(tmp_path, [(2, 300)] * 20)
    segments = sorted(tmp_path.glob("*.log"))
    assert len(segments) > 5
    sidecar_of(segments[0]).unlink()
    sidecar_of(segments[1]).write_bytes(b"{")
    sidecar_of(segments[2]).write_bytes(b'{"size": 1}')
    log = PartitionLog(tmp_path, SMALL)
    assert batches_of(log) == sent
    log.close()
    assert all(sidecar_of(path).exists() for path in segments[:-1])


def test_segments_behind_a_hole_are_set_aside_not_served(tmp_path: Path) -> None:
    sent = filled(tmp_path, [(2, 300)] * 20)
    segments = sorted(tmp_path.glob("*.log"))
    segments[2].unlink()
    log = PartitionLog(tmp_path, SMALL)
    kept = [entry for entry in sent if entry[0] < int(segments[2].stem)]
    assert batches_of(log) == kept
    assert len(list(tmp_path.glob("*.aside-*"))) == len(segments) - 3
    assert put(log, batch([b"x"])) == log.next_offset - 1
    log.close()


def test_a_segment_begun_and_never_used_does_not_hide_what_follows(tmp_path: Path) -> None:
    sent = filled(tmp_path, [(2, 300)] * 20)
    (tmp_path / f"{1:020d}.log").touch()
    log = PartitionLog(tmp_path, SMALL)
    assert batches_of(log) == sent
    log.close()


@pytest.mark.parametrize("offset", range(10))
@pytest.mark.parametrize("most", [1, 150, 400, 10_000])
def test_a_read_starts_with_the_batch_that_holds_the_offset(
    tmp_path: Path, offset: int, most: int
) -> None:
    log = PartitionLog(tmp_path, BrokerSettings(index_interval_bytes=100))
    for _ in range(5):
        put(log, batch([b"a", b"b"]))
    data = log.read(offset, most, at_least_one=True)
    assert read_header(data).base_offset == offset // 2 * 2
    assert sum(header.size for _, header in iter_headers(data)) == len(data)
    assert len(data) <= max(most, read_header(data).size)
    empty = log.read(offset, 1, at_least_one=False)
    assert empty == b""
    log.close()


@given(
    stamps=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=1, max_size=12),
    asked=st.integers(0, 55),
    codec=st.sampled_from([0, 1, 2, 3, 4]),
)
@settings(max_examples=100, deadline=None)
def test_a_timestamp_finds_the_first_record_at_or_after_it(
    stamps: list[list[int]], asked: int, codec: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = PartitionLog(Path(folder), BrokerSettings(segment_bytes=600, index_interval_bytes=99))
        for times in stamps:
            put(log, batch([b"v" * 30] * len(times), timestamps=times, codec=codec))
        flat = [time for times in stamps for time in times]
        expected = next(((t, o) for o, t in enumerate(flat) if t >= asked), None)
        found = log.batch_reaching(asked, 0)
        assert (None if found is None else first_offset_at(found, asked)) == expected
        log.close()


def test_an_append_that_does_not_fit_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    import resource

    log = PartitionLog(tmp_path, BrokerSettings())
    put(log, batch([b"before"]))
    before = batches_of(log)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, hard))
    try:
        with pytest.raises(LogWriteError):
            put(log, batch([os.urandom(10_000)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert batches_of(log) == before
    assert last_segment(tmp_path).stat().st_size == sum(8 + len(body) for _, body in before)
    put(log, batch([b"after"]))
    assert len(batches_of(log)) == 2
    log.close()


@pytest.mark.parametrize("how", ["unlink", "rmtree", "replace", "move"])
def test_nothing_is_appended_to_a_file_that_lost_its_name(tmp_path: Path, how: str) -> None:
    import shutil

    folder = tmp_path / "0"
    folder.mkdir()
    log = PartitionLog(folder, BrokerSettings())
    put(log, batch([b"x"]))
    path = last_segment(folder)
    if how == "unlink":
        path.unlink()
    elif how == "rmtree":
        shutil.rmtree(folder)
    elif how == "replace":
        copy = path.with_suffix(".copy")
        shutil.copy(path, copy)
        copy.replace(path)
    else:
        folder.rename(tmp_path / "elsewhere")
    with pytest.raises(DataFolderLostError):
        put(log, batch([b"y"]))
    log.close()


def test_producers_are_known_again_after_a_start(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path, SMALL)
    sequence = 0
    for _ in range(12):  # over several segments: state comes from sidecar and headers together
        put(log, batch([b"v" * 300] * 2, producer=(7, 0, sequence)))
        sequence += 2
    log.close()
    for _ in range(2):
        log = PartitionLog(tmp_path, SMALL)
        again = check_batch(batch([b"v" * 300] * 2, producer=(7, 0, sequence - 2)), 10_000)
        known = log.producers.find_duplicate(again)
        assert known is not None
        assert known.base_offset == sequence - 2
        gap = check_batch(batch([b"x"], producer=(7, 0, sequence + 1)), 10_000)
        with pytest.raises(RequestRefusedError):
            log.producers.find_duplicate(gap)
        log.close()


def test_producers_of_closed_segments_are_known_by_all_their_last_batches(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path, SMALL)
    for sequence in range(6):
        put(log, batch([b"v" * 300], producer=(7, 0, sequence)))
    for sequence in range(12):  # another one fills the segments that come after
        put(log, batch([b"v" * 300], producer=(8, 0, sequence)))
    log.close()
    log = PartitionLog(tmp_path, SMALL)
    for sequence in range(1, 6):
        again = check_batch(batch([b"v" * 300], producer=(7, 0, sequence)), 10_000)
        known = log.producers.find_duplicate(again)
        assert known is not None
        assert known.base_offset == sequence
    log.close()
