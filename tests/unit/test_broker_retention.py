"""What the embedded broker deletes of its logs, and that a crash in between costs nothing else."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headrace.cli.commands.broker import settings_of
from headrace.config_file import load_config
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.folder import DataFolder
from headrace.infra.broker.log import PartitionLog
from headrace.infra.broker.offsets import Committed, GroupOffsets
from headrace.infra.broker.record_batch import check_batch
from headrace.infra.broker.retention import ALL_LANDED, Piece, Retention, expired, forced
from headrace.infra.broker.settings import BrokerSettings
from headrace.infra.broker.topic_rules import Keep
from headrace.infra.broker.topics import Topics
from support.record_batches import batch, batches_of, put

SMALL = BrokerSettings(segment_bytes=2_000, index_interval_bytes=300)
NOW = 1_000_000.0

pieces = st.lists(
    st.builds(
        Piece,
        next_offset=st.just(0),
        size=st.integers(1, 100),
        written=st.floats(0, NOW, allow_nan=False),
    ),
    max_size=8,
).map(lambda found: [Piece(10 * (n + 1), p.size, p.written) for n, p in enumerate(found)])
rules = st.builds(
    Keep,
    seconds=st.none() | st.floats(0, NOW, allow_nan=False),
    size_bytes=st.none() | st.integers(0, 900),
)
offsets_landed = st.integers(0, 90) | st.just(ALL_LANDED)


@given(found=pieces, active=st.integers(0, 100), keep=rules, landed=offsets_landed)
def test_nothing_expires_that_has_not_landed_or_is_within_the_rules(
    found: list[Piece], active: int, keep: Keep, landed: int
) -> None:
    size = sum(piece.size for piece in found) + active
    count = expired(found, size, keep, landed, NOW)
    for number, piece in enumerate(found[:count]):
        left = size - sum(other.size for other in found[: number + 1])
        assert piece.next_offset <= landed
        old = keep.seconds is not None and NOW - piece.written > keep.seconds
        assert old or (keep.size_bytes is not None and left >= keep.size_bytes)
    for piece in found[count : count + 1]:  # the next one stays for a reason
        left = size - sum(other.size for other in found[: count + 1])
        young = keep.seconds is None or NOW - piece.written <= keep.seconds
        few = keep.size_bytes is None or left < keep.size_bytes
        assert piece.next_offset > landed or (young and few)


@given(
    logs=st.dictionaries(st.integers(0, 3), st.tuples(pieces, offsets_landed)),
    excess=st.integers(1, 500),
    spared=st.booleans(),
)
def test_the_disk_limit_takes_what_has_not_landed_last_and_no_more_than_it_must(
    logs: Mapping[int, tuple[list[Piece], int]], excess: int, spared: bool
) -> None:
    goes, stays = forced(logs, excess, spare_unlanded=spared)
    taken = [(key, piece) for key, count in goes.items() for piece in logs[key][0][:count]]
    left = [(key, piece) for key, (all_, _) in logs.items() for piece in all_[goes.get(key, 0) :]]
    freed = sum(piece.size for _, piece in taken)
    assert stays == max(0, excess - freed)
    nexts = [(key, logs[key][0][goes.get(key, 0)]) for key in {key for key, _ in left}]
    assert not stays or not nexts or spared
    if stays or any(piece.next_offset > logs[key][1] for key, piece in taken):
        assert all(piece.next_offset > logs[key][1] for key, piece in nexts)
    assert not spared or all(piece.next_offset <= logs[key][1] for key, piece in taken)
    lasts = [logs[key][0][count - 1].size for key, count in goes.items()]
    assert not lasts or freed - max(lasts) < excess


def filled(folder: Path, batches: int = 12) -> PartitionLog:
    """A log of several segments with an idempotent producer's batches of two records."""
    log = PartitionLog(folder, SMALL)
    for number in range(batches):
        put(log, batch([b"v" * 300] * 2, producer=(7, 0, 2 * number)))
    assert len(log.closed) >= 3
    return log


def reopened(log: PartitionLog) -> PartitionLog:
    """The log as a process finds it after the one that had it open was killed."""
    log.close()
    return PartitionLog(log.folder, SMALL)


def new_folder(folder: Path) -> None:
    """A log's folder as a topic has it from the start, so that its opening misses nothing."""
    folder.mkdir(exist_ok=True)
    PartitionLog(folder, SMALL).close()


@pytest.mark.parametrize("offset", [1, 5, 8, 13, 23, 24, 99])
def test_a_log_that_begins_later_still_does_after_a_start(tmp_path: Path, offset: int) -> None:
    new_folder(tmp_path)
    log = filled(tmp_path)
    everything, end = batches_of(log), log.next_offset
    for _ in range(2):
        log.advance_start(offset)
        assert log.start_offset == min(offset, end)
        # A batch that begins before it and ends after it is there as a whole.
        left = [entry for entry in everything if entry[0] + 2 > offset]
        assert batches_of(log) == left
        assert log.size_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.log"))
        log = reopened(log)
        assert log.losses == ()
    assert log.start_offset == min(offset, end)
    assert put(log, batch([b"x"])) == end
    log.close()


def test_a_log_never_begins_earlier_again(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.advance_start(9)
    log.advance_start(3)
    assert log.start_offset == 9
    log.close()


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ends the process before its `step`-th change to the disk; yields the changes that were."""
    done: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            if len(done) == step:
                raise Killed
            done.append(name)
            return real(*args, **options)

        return call

    with monkeypatch.context() as patched:
        for name in ("open", "fsync", "rename", "replace", "unlink"):
            patched.setattr(os, name, counted(name))
        yield done


@pytest.mark.parametrize("offset", [13, 24])  # some segments; all of them, the active one as well
def test_a_kill_between_any_two_steps_leaves_a_log_that_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    new_folder(tmp_path / "whole")
    filled(tmp_path / "whole").close()
    starts = []
    for step in range(100):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole", folder)
        log = PartitionLog(folder, SMALL)
        everything = batches_of(log)
        with killed_before(step, monkeypatch) as done:
            try:
                log.advance_start(offset)
            except Killed:
                pass
            else:
                break
        log = reopened(log)
        assert log.losses == (), done
        assert log.start_offset in {0, offset}, done
        starts.append(log.start_offset)
        assert batches_of(log) == [e for e in everything if e[0] + 2 > log.start_offset], done
        again = check_batch(batch([b"v" * 300] * 2, producer=(7, 0, 22)), 10_000)
        assert log.producers.find_duplicate(again) is not None, done
        assert put(log, batch([b"x"], producer=(7, 0, 24))) == 24
        log.advance_start(offset)
        log = reopened(log)
        assert (log.losses, log.start_offset, log.next_offset) == ((), offset, 25)
        log.close()
    assert {"fsync", "rename", "unlink"} <= set(done)
    assert starts == sorted(starts)  # once it begins later it does not go back
    assert set(starts) == {0, offset}


@given(offset=st.integers(1, 24), kept=st.sets(st.integers(0, 10)), cut=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_power_cut_may_bring_back_deleted_files_and_tear_the_last(
    offset: int, kept: set[int], cut: float
) -> None:
    """The new start was on disk; which removals were is anybody's guess."""
    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name) / "log", Path(name) / "before"
        new_folder(folder)
        log = filled(folder)
        everything = batches_of(log)
        log.close()
        shutil.copytree(folder, before)
        log = PartitionLog(folder, SMALL)
        log.advance_start(offset)
        log.close()
        removed = sorted(path for path in before.iterdir() if not (folder / path.name).exists())
        for number, path in enumerate(path for path in removed if path.suffix != ".start"):
            if number in kept:
                shutil.copy(path, folder)
        last = max(folder.glob("*.log"))
        os.truncate(last, round(cut * last.stat().st_size))
        log = PartitionLog(folder, SMALL)
        assert log.losses == ()
        assert log.start_offset == offset
        found = batches_of(log)
        assert found == [entry for entry in everything if entry[0] + 2 > offset][: len(found)]
        end = log.next_offset
        assert end >= offset
        assert put(log, batch([b"x"])) == end
        log = reopened(log)
        assert (log.losses, log.start_offset, log.next_offset) == ((), offset, end + 1)
        log.close()


def test_a_segment_missing_after_the_start_is_still_a_loss(tmp_path: Path) -> None:
    log = filled(tmp_path)
    log.advance_start(9)
    first = log.closed[0].path
    log.close()
    first.unlink()
    log = PartitionLog(tmp_path, SMALL)
    assert len(log.losses) == 1
    log.close()


def test_producers_are_known_by_what_is_deleted_after_a_start(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path, SMALL)
    put(log, batch([b"v" * 300], producer=(9, 0, 0)))
    for number in range(12):  # others fill the rest, and it comes back when its batch is long gone
        put(log, batch([b"v" * 300] * 2, producer=(7, 0, 2 * number)))
        if number in {5, 10}:
            log.advance_start(log.next_offset)
            log = reopened(log)
    again = check_batch(batch([b"v" * 300], producer=(9, 0, 0)), 10_000)
    known = log.producers.find_duplicate(again)
    assert known is not None
    assert known.base_offset == 0
    assert (
        log.producers.find_duplicate(check_batch(batch([b"x"], producer=(9, 0, 1)), 10_000)) is None
    )
    assert len(list(tmp_path.glob("*.closed"))) == len(log.closed) + 1
    log.close()


def test_a_segment_is_closed_by_age_when_more_comes(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path, SMALL, roll_seconds=3_600)
    put(log, batch([b"x"], timestamps=[5]))  # a backfill's timestamp says nothing of its age
    put(log, batch([b"x"]))
    assert not log.closed
    log._segments[-1].begun -= 3_700
    put(log, batch([b"x"]))
    assert len(log.closed) == 1
    log.close()


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ({}, Keep(7 * 24 * 3600, None)),
        ({"retention.ms": "1500"}, Keep(1.5, None)),
        ({"retention.ms": "-1", "retention.bytes": "10"}, Keep(None, 10)),
        ({"retention.bytes": "-1"}, Keep(7 * 24 * 3600, None)),
    ],
)
def test_a_topic_keeps_what_it_was_told_or_else_what_the_broker_keeps(
    configs: dict[str, str], expected: Keep
) -> None:
    assert Keep.of(configs, BrokerSettings()) == expected


@pytest.mark.parametrize("value", ["", "a week", "-2", "1.5"])
def test_a_rule_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(RequestRefusedError, match="a whole number from -1 expected"):
        Keep.of({"retention.ms": value}, BrokerSettings())


class Bench:
    """Topics and commits in a folder, under rules."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        self.folder = DataFolder(folder).open()
        options = BrokerSettings(
            segment_bytes=2_000,
            default_partitions=1,
            landing_group="shop.bronze",
            landing_topics=frozenset({"shop.sales"}),
            **rules,
        )
        self.topics = Topics(self.folder.topics, options)
        self.offsets = GroupOffsets(self.folder.offsets)
        self.offsets.open()
        self.retention = Retention(self.topics, self.offsets, options)

    def filled(self, name: str, batches: int = 20, timestamp: int = 1_000) -> PartitionLog:
        """A topic's one log with that many batches of two records, written at `timestamp` (ms)."""
        (log,) = self.topics.create(name, -1).logs
        for _ in range(batches):
            put(log, batch([b"v" * 300] * 2, timestamps=[timestamp] * 2))
        return log

    def landed(self, topic: str, offset: int) -> None:
        """The project's consumers are done up to there."""
        self.offsets.commit("shop.bronze", {(topic, 0): Committed(offset, "")})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**rules: Any) -> Bench:
        made.append(Bench(tmp_path, **rules))
        return made[-1]

    yield make
    for one in made:
        one.topics.close()
        one.offsets.close()
        one.folder.close()


def test_old_segments_go_but_not_before_they_have_landed(bench: Callable[..., Bench]) -> None:
    it = bench(retention_seconds=100)
    landing, foreign = it.filled("shop.sales"), it.filled("somebody.elses")
    it.retention.enforce(101.0)
    assert foreign.start_offset == 0  # written at second 1
    active = foreign.closed[-1].next_offset
    it.retention.enforce(101.5)
    assert foreign.start_offset == active
    assert foreign.closed == []
    assert landing.start_offset == 0
    it.landed("shop.sales", landing.closed[2].next_offset - 1)
    third = landing.closed[2].base_offset
    it.retention.enforce(101.5)
    assert landing.start_offset == third
    assert it.retention.unlanded == {}


def test_a_stream_the_group_came_to_read_later_is_spared_as_well(
    bench: Callable[..., Bench],
) -> None:
    it = bench(retention_seconds=100)
    log = it.filled("shop.returns")
    landed = log.closed[1].next_offset
    it.landed("shop.returns", landed)
    it.retention.enforce(NOW)
    assert log.start_offset == landed
    assert log.closed


def test_each_topic_partition_keeps_its_bytes(bench: Callable[..., Bench]) -> None:
    it = bench(retention_bytes=5_000)
    log = it.filled("somebody.elses")
    it.retention.enforce(2.0)
    assert 5_000 <= log.size_bytes < 5_000 + 2_000


def test_records_without_a_time_or_from_the_future_are_as_old_as_their_file(
    bench: Callable[..., Bench],
) -> None:
    it = bench(retention_seconds=100)
    log = it.filled("somebody.elses", timestamp=10**15)
    for segment in log.closed:
        os.utime(segment.path, (5_000, 5_000))
    it.retention.enforce(5_100)
    assert log.start_offset == 0
    it.retention.enforce(5_101)
    assert log.closed == []


def test_the_disk_limit_takes_landed_records_first_then_all_and_says_so(
    bench: Callable[..., Bench],
) -> None:
    it = bench(retention_seconds=None, max_disk_bytes=30_000, landing_patience_seconds=0)
    landing = it.filled("shop.sales", 30)
    foreign = it.filled("somebody.elses", 10, timestamp=2_000)
    size = landing.size_bytes + foreign.size_bytes
    assert size < 30_000
    it.retention.enforce(NOW)
    assert landing.start_offset == foreign.start_offset == 0
    for _ in range(20):
        put(foreign, batch([b"v" * 300] * 2))
    with capture_logs() as logged:
        it.retention.enforce(NOW)
    assert landing.start_offset == 0
    assert foreign.start_offset > 0
    assert {entry["event"] for entry in logged} == {"records deleted"}
    for _ in range(40):
        put(landing, batch([b"v" * 300] * 2))
    with capture_logs() as logged:
        it.retention.enforce(NOW)
    assert landing.size_bytes + foreign.size_bytes <= 30_000
    assert landing.start_offset > 0
    (said,) = [e for e in logged if e["event"] == "records deleted before they had landed"]
    assert said["log_level"] == "error"
    assert said["unlanded_records"] == landing.start_offset
    assert it.retention.unlanded == {"shop.sales": landing.start_offset}


def test_at_the_disk_limit_what_lands_is_waited_for(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    it = bench(retention_seconds=None, max_disk_bytes=10_000, landing_patience_seconds=60)
    log = it.filled("shop.sales", 30)
    it.retention.enforce(NOW)
    assert log.start_offset == 0
    with pytest.raises(RequestRefusedError, match="has yet to land them"):
        it.retention.require_space("shop.sales")
    it.retention.require_space("somebody.elses")
    clock += 59
    it.landed("shop.sales", 20)
    it.retention.enforce(NOW)
    assert 0 < log.start_offset <= 20
    clock += 59
    it.landed("shop.sales", 50)
    it.retention.enforce(NOW)
    assert log.size_bytes <= 10_000
    it.retention.require_space("shop.sales")
    assert it.retention.unlanded == {}
    for _ in range(20):
        put(log, batch([b"v" * 300] * 2))
    it.retention.enforce(NOW)
    assert it.retention.is_full
    clock += 60
    it.retention.enforce(NOW)
    assert log.size_bytes <= 10_000
    it.retention.require_space("shop.sales")
    assert it.retention.unlanded == {"shop.sales": log.start_offset - 50}


def test_the_disk_limit_holds_for_segments_that_are_not_closed_yet(
    bench: Callable[..., Bench],
) -> None:
    it = bench(max_disk_bytes=1_000)
    log = it.filled("somebody.elses", 2)
    assert not log.closed
    it.retention.enforce(0)
    assert log.size_bytes <= 1_000
    assert put(log, batch([b"x"])) == 4


def test_what_cannot_be_deleted_now_is_tried_again(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = bench(retention_seconds=100)
    log = it.filled("somebody.elses")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(os, "rename", refuse)
        it.retention.enforce(NOW)
    assert [entry["event"] for entry in logged] == ["records not deleted"]
    assert log.start_offset == 0
    assert batches_of(log)[0][0] == 0
    it.retention.enforce(NOW)
    assert log.closed == []


def test_a_project_says_what_its_broker_keeps(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        """
        [project]
        name = "shop"
        [broker]
        keep = "36h"
        keep_bytes = "1GB"
        max_disk_bytes = "20GB"
        fsync = "group"
        [sources.tills]
        kind = "files"
        path = "inbox"
        stream = "sales"
        """
    )
    found = settings_of(load_config(tmp_path))
    assert found.retention_seconds == 36 * 3_600
    assert (found.retention_bytes, found.max_disk_bytes) == (10**9, 20 * 10**9)
    assert found.landing_group == "shop.bronze"
    assert found.landing_topics == {"shop.sales"}
    assert found.fsync == "group"
    assert BrokerSettings().fsync == "os"


def test_the_names_of_new_files_are_on_the_disk(
    monkeypatch: pytest.MonkeyPatch, bench: Callable[..., Bench]
) -> None:
    """Each name in each folder was there when the folder was last brought to the disk."""
    on_disk: dict[int, set[str]] = {}
    real = os.fsync

    def noting(fd: int) -> None:
        real(fd)
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            on_disk[found.st_ino] = set(os.listdir(fd))

    monkeypatch.setattr(os, "fsync", noting)
    it = bench()
    log = it.filled("t")
    assert len(log.closed) > 3
    for folder in (log.folder, log.folder.parent, log.folder.parent.parent):
        names = {path.name for path in folder.iterdir() if path.suffix != ".closed"}
        assert names <= on_disk[folder.stat().st_ino], folder  # a missing .closed is made again
