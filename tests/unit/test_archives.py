"""Archives into spool and ledger: their members once each, whatever happens on the way."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headrace.config_files import ArchiveOptions, FileSource
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.spool.spool import Draft, Spool
from headrace.stream import Stream
from support.archive_files import COMPRESS, TAR_FORMATS, ZIP_METHODS, tar_of, zip_of
from support.intake_project import IntakeProject

SOURCE = FileSource(
    kind="files", path="inbox", stream="sales", patterns=("*.csv", "*.zip", "*.tar*"), settle=0
)
DAYS = {"1.csv": b"item\nA\n", "2.csv": b"item\nB\n", "deep/3.csv": b"item\nC\n"}


def limited(**options: float) -> FileSource:
    return SOURCE.model_copy(update={"archive": ArchiveOptions.model_validate(options)})


@pytest.fixture
def project(tmp_path: Path) -> IntakeProject:
    return IntakeProject(tmp_path)


def reasons(project: IntakeProject) -> dict[str, str]:
    """Why what is rejected is, by name."""
    return {row.name: row.reason or "" for row in project.rows() if row.state == "rejected"}


def contents(project: IntakeProject) -> Counter[bytes]:
    """What was accepted, byte for byte."""
    rows = [row for row in project.rows() if row.state == "received"]
    return Counter(project.spool.payload("sales", r.delivery_id).read_bytes() for r in rows)


def drafts(project: IntakeProject) -> list[Path]:
    """What lies in the spool and is no delivery."""
    return list(project.root.glob("spool/*/.intake-*"))


def test_each_member_is_a_delivery_that_names_its_archive(project: IntakeProject) -> None:
    project.drop("in/sales.zip", zip_of(DAYS))
    project.take(SOURCE)
    assert project.states() == [
        ("in/sales.zip/1.csv", "received"),
        ("in/sales.zip/2.csv", "received"),
        ("in/sales.zip/deep/3.csv", "received"),
    ]
    assert contents(project) == Counter(DAYS.values())
    assert {row.path for row in project.rows()} == {"inbox/in/sales.zip"}
    assert {row.size_bytes for row in project.rows()} == {7}
    assert project.look(SOURCE).ready == ()
    assert project.restart().look(SOURCE).ready == ()
    assert drafts(project) == []


def test_plain_files_and_archives_are_taken_in_one_look(project: IntakeProject) -> None:
    project.drop("a.csv", DAYS["1.csv"])
    project.drop("b.tar", tar_of(DAYS))
    project.drop("c.csv", DAYS["2.csv"])
    project.take(SOURCE)
    assert project.states() == [
        ("a.csv", "received"),
        ("b.tar/1.csv", "duplicate"),
        ("b.tar/2.csv", "received"),
        ("b.tar/deep/3.csv", "received"),
        ("c.csv", "duplicate"),
    ]
    assert project.rows()[1].duplicate_of == project.rows()[0].delivery_id


def test_the_same_content_in_another_archive_is_listed_with_its_original(
    project: IntakeProject,
) -> None:
    project.drop("a.zip", zip_of(DAYS))
    project.take(SOURCE)
    project.drop("b.tar.gz", COMPRESS[".gz"](tar_of(DAYS)))
    project.take(SOURCE)
    originals = [row.delivery_id for row in project.rows()[:3]]
    assert [row.duplicate_of for row in project.rows()[3:]] == originals


def test_an_archive_unpacked_again_brings_nothing_new(project: IntakeProject) -> None:
    project.drop("a.csv", DAYS["1.csv"])
    archive = project.drop("b.zip", zip_of({**DAYS, "same.csv": DAYS["2.csv"]}))
    project.take(SOURCE)
    before = project.rows()
    os.utime(archive, ns=(1, 1))
    taken = project.take(SOURCE)
    assert taken.receipts == ()
    assert project.rows() == before
    assert project.look(SOURCE).ready == ()
    assert drafts(project) == []


def test_of_an_archive_with_more_in_it_only_that_is_new(project: IntakeProject) -> None:
    project.drop("a.zip", zip_of(DAYS))
    project.take(SOURCE)
    changed = {**DAYS, "2.csv": b"item\nB\nB\n", "4.csv": b"item\nD\n"}
    project.drop("a.zip", zip_of(changed))
    project.take(SOURCE)
    assert project.states()[3:] == [("a.zip/2.csv", "received"), ("a.zip/4.csv", "received")]


def test_a_member_that_grew_takes_the_place_of_its_first_half(project: IntakeProject) -> None:
    project.drop("a.zip", zip_of(DAYS))
    project.take(SOURCE)
    project.drop("a.zip", zip_of({**DAYS, "2.csv": DAYS["2.csv"] + b"B2\n"}))
    project.take(SOURCE)
    grown = project.rows()[-1]
    assert (grown.name, grown.replaces) == ("a.zip/2.csv", project.rows()[1].delivery_id)


BAD = {"bad.csv": b"x" * 50, **DAYS}


def with_a_bad_member() -> bytes:
    return zip_of(BAD, 0).replace(b"xxx", b"xyx", 1)


def test_a_bad_member_is_rejected_under_its_name_and_the_good_go_in(
    project: IntakeProject,
) -> None:
    archive = project.drop("a.zip", with_a_bad_member())
    taken = project.take(SOURCE)
    assert contents(project) == Counter(DAYS.values())
    assert list(reasons(project)) == ["a.zip/bad.csv"]
    assert "damaged (Bad CRC-32" in reasons(project)["a.zip/bad.csv"]
    (rejected,) = [receipt for receipt in taken.receipts if not receipt.goes_on]
    # It is told of as long as it lies there.
    project = project.restart()
    (row,) = project.look(SOURCE).rejected
    assert row.delivery_id == rejected.identity.delivery_id
    # Looked at again, it is rejected once more, in place of the row before.
    os.utime(archive, ns=(1, 1))
    project.take(SOURCE)
    assert list(reasons(project)) == ["a.zip/bad.csv"]
    assert len(project.rows()) == 4
    # Made well, it goes in. What was rejected before stays known, but is not told of.
    project.drop("a.zip", zip_of(BAD))
    project.take(SOURCE)
    assert contents(project) == Counter(BAD.values())
    assert project.look(SOURCE).rejected == ()
    assert list(reasons(project)) == ["a.zip/bad.csv"]


def try_again(project: IntakeProject, source: FileSource) -> None:
    assert project.retries.after_a_change("sales", source, Stream()) == ([], 0)
    project.take(source)


LIMITS: dict[str, tuple[FileSource, bytes, str]] = {
    "max_members": (limited(max_members=2), zip_of(DAYS), "more than 2 files"),
    "max_members of a tar": (limited(max_members=2), tar_of(DAYS), "more than 2 files"),
    "max_bytes": (limited(max_bytes=20), zip_of(DAYS), "more than 20 bytes"),
    "max_bytes of a tar": (
        limited(max_bytes=4_000),
        COMPRESS[".zst"](tar_of(DAYS)),
        "more than 4,000 bytes",
    ),
    "max_ratio": (
        limited(max_ratio=100),
        zip_of({**DAYS, "z.csv": b"item 1\nitem 2\n" * 1_200_000}),
        "more than 100 times as many",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_over_a_limit_nothing_is_taken_until_that_is_raised(
    project: IntakeProject, limit: str
) -> None:
    source, archive, said = LIMITS[limit]
    project.drop("a.zip", archive)
    project.take(source)
    assert project.states() == [("a.zip", "rejected")]
    assert said in reasons(project)["a.zip"]
    assert f"raise archive.{limit.split(maxsplit=1)[0]}" in reasons(project)["a.zip"]
    assert drafts(project) == []
    assert list(project.spool.delivery_ids()) == []

    project = project.restart()
    try_again(project, source)  # with the same config, nothing
    assert project.states() == [("a.zip", "rejected")]
    try_again(project, SOURCE)
    assert set(DAYS.values()) <= set(contents(project))
    assert reasons(project) == {}


def test_what_a_zip_says_it_becomes_is_not_written_first(project: IntakeProject) -> None:
    project.drop("a.zip", zip_of({**DAYS, "bomb.csv": bytes(17_000_000)}))
    written = []
    write = Spool.draft_chunks

    def watched(spool: Spool, source: str, chunks: Any, *, durable: bool = True) -> Draft:
        draft = write(spool, source, chunks, durable=durable)
        written.append(draft.size_bytes)
        return draft

    with patch.object(Spool, "draft_chunks", watched):
        project.take(SOURCE)
    assert "more than 1000 times as many" in reasons(project)["a.zip"]
    assert max(written) < 100


def test_a_limit_that_is_still_passed_is_told_once(project: IntakeProject) -> None:
    project.drop("a.zip", zip_of(DAYS))
    project.take(limited(max_members=1))
    try_again(project, limited(max_members=2))
    assert list(reasons(project)) == ["a.zip"]
    assert "more than 2 files" in reasons(project)["a.zip"]
    (project.inbox / "a.zip").unlink()
    try_again(project, SOURCE)
    assert list(reasons(project)) == ["a.zip"]


def test_archives_in_archives(project: IntakeProject) -> None:
    inner = tar_of({"1.csv": DAYS["1.csv"], "deeper.zip": zip_of({"2.csv": DAYS["2.csv"]})})
    project.drop("a.zip", zip_of({"inner.tar.gz": COMPRESS[".gz"](inner), "3.csv": b"item\nC\n"}))
    project.take(limited(max_nesting=1))
    assert project.states() == [
        ("a.zip/inner.tar.gz/1.csv", "received"),
        ("a.zip/inner.tar.gz/deeper.zip", "rejected"),
        ("a.zip/3.csv", "received"),
    ]
    assert "raise archive.max_nesting" in reasons(project)["a.zip/inner.tar.gz/deeper.zip"]
    try_again(project, SOURCE)
    assert project.states()[-1] == ("a.zip/inner.tar.gz/deeper.zip/2.csv", "received")
    assert contents(project) == Counter(DAYS.values())
    assert reasons(project) == {}
    assert drafts(project) == []


def test_a_compressed_tar_that_is_damaged_is_not_taken_in_part(project: IntakeProject) -> None:
    packed = bytearray(COMPRESS[".gz"](tar_of(DAYS)))
    packed[-6] ^= 1  # its checksum, behind all members
    project.drop("a.tar.gz", bytes(packed))
    project.take(SOURCE)
    assert project.states() == [("a.tar.gz", "rejected")]
    assert "incorrect data check" in reasons(project)["a.tar.gz"]
    assert drafts(project) == []


def test_a_tar_that_is_cut_off_says_that_more_is_missing(project: IntakeProject) -> None:
    whole = tar_of(DAYS)
    project.drop("a.tar", whole[:2_048])
    project.take(SOURCE)
    assert project.states() == [
        ("a.tar/1.csv", "received"),
        ("a.tar/2.csv", "received"),
        ("a.tar", "rejected"),
    ]
    project.drop("a.tar", whole)
    project.take(SOURCE)
    assert contents(project) == Counter(DAYS.values())
    assert project.look(SOURCE).rejected == ()


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (zip_of({}), "found none"),
        (
            zip_of({"__MACOSX/._a.csv": b"1", ".DS_Store": b"2"}),
            "found 2 members that are not: __MACOSX/._a.csv, .DS_Store",
        ),
        (tar_of({"readme.txt": b"1"}), "found 1 member that is not: readme.txt"),
        (zip_of(DAYS)[:-30], "ZIP archive that cannot be read"),
    ],
)
def test_an_archive_that_brings_nothing_says_so(
    project: IntakeProject, archive: bytes, said: str
) -> None:
    project.drop("a.zip", archive)
    project.take(SOURCE)
    assert project.states() == [("a.zip", "rejected")]
    assert said in reasons(project)["a.zip"]


def test_the_rejected_members_of_thousands_are_each_told_once(project: IntakeProject) -> None:
    encrypted = zip_of({f"{n}.csv": b"" for n in range(300)}).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )
    encrypted = encrypted.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    project.drop("a.zip", encrypted)
    project.take(SOURCE)
    assert len(reasons(project)) == 300
    assert all("is encrypted" in reason for reason in reasons(project).values())
    assert len(project.look(SOURCE).rejected) == 300


class KilledError(BaseException):
    """Stands for kill -9: nothing after it is done."""


def killed_at(owner: Any, name: str, time: int, *, after: bool) -> Any:
    """A step that is the last to be done at all, or that is not done any more."""
    step = getattr(owner, name)
    calls = 0

    def strike(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < time:
            return step(*arguments, **named)
        if after and calls == time:
            step(*arguments, **named)
        raise KilledError

    return patch.object(owner, name, strike)


KILLS: dict[str, Callable[[], Any]] = {
    f"{'after' if after else 'before'} {name} {time}": partial(
        killed_at, owner, name, time, after=after
    )
    for owner, name, times in (
        (Spool, "draft", (1,)),
        (Spool, "draft_chunks", (1, 3)),
        (Spool, "sync_drafts", (1,)),
        (Spool, "place", (1, 2, 3)),
        (Spool, "sync_source", (1,)),
        (Ledger, "record", (1,)),
    )
    for time in times
    for after in (False, True)
}


@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_any_step_every_member_is_taken_once(project: IntakeProject, kill: str) -> None:
    project.drop("a.zip", with_a_bad_member())
    with KILLS[kill](), patch.object(shutil, "rmtree"), pytest.raises(KilledError):
        project.take(SOURCE)
    project = project.restart()
    assert drafts(project) == []
    if kill == "after record 1":
        assert project.look(SOURCE).ready == ()
    else:
        assert [stat.name for stat in project.look(SOURCE).ready] == ["a.zip"]
    project.take(SOURCE)
    assert contents(project) == Counter(DAYS.values())
    assert list(reasons(project)) == ["a.zip/bad.csv"]
    assert len(project.rows()) == 4
    assert project.look(SOURCE).ready == ()
    assert drafts(project) == []


def test_a_lost_ledger_has_the_archive_unpacked_again(project: IntakeProject) -> None:
    project.drop("a.zip", with_a_bad_member())
    project.take(SOURCE)
    ids = {row.delivery_id for row in project.rows() if row.state == "received"}
    project.ledger.close()
    (project.root / "ledger.db").unlink()
    project = IntakeProject(project.root)
    project.take(SOURCE)
    assert {row.delivery_id for row in project.rows() if row.state == "received"} == ids
    assert list(reasons(project)) == ["a.zip/bad.csv"]
    assert len(project.rows()) == 4


def test_what_repeats_a_member_rejected_since_is_looked_at_again(project: IntakeProject) -> None:
    project.drop("a.csv", DAYS["1.csv"])
    project.drop("b.zip", zip_of(DAYS))
    project.take(SOURCE)
    first = project.rows()[0]
    project.ledger.reject(first.delivery_id, "not CSV", "config-1")
    assert [stat.name for stat in project.look(SOURCE).ready] == ["b.zip"]
    project.take(SOURCE)
    assert project.states()[-1] == ("b.zip/1.csv", "received")
    assert [name for name, _ in project.states()].count("b.zip/1.csv") == 1
    assert project.look(SOURCE).ready == ()
    project.ledger.reject(project.rows()[-1].delivery_id, "not CSV", "config-1")
    for _ in range(2):
        listed = project.states()
        project.take(SOURCE)
        assert project.states() == listed


def test_equal_members_are_two_where_names_matter(project: IntakeProject) -> None:
    by_name = SOURCE.model_copy(update={"identity": "name+content"})
    project.drop("a.zip", zip_of({"1.csv": b"item\nA\n", "2.csv": b"item\nA\n"}))
    project.take(by_name)
    assert [state for _, state in project.states()] == ["received", "received"]


# --- any packing gives the same records

Packer = Callable[[Mapping[str, bytes]], tuple[str, bytes]]
PACKERS: tuple[Packer, ...] = (
    *(lambda files, method=m: (".zip", zip_of(files, method)) for m in ZIP_METHODS),
    *(lambda files, format_=f: (".tar", tar_of(files, format_)) for f in TAR_FORMATS),
    *(
        lambda files, c=compression: (f".tar{c}", COMPRESS[c](tar_of(files)))
        for compression in COMPRESS
    ),
)
FILES = st.dictionaries(
    st.sampled_from(["a.csv", "b.csv", "c/a.csv", "c/b.csv", "c/d/a.csv", "e.csv"]),
    st.integers(0, 9).map(lambda number: f"item\n{number}\n".encode()),
    min_size=1,
)


@st.composite
def packings(draw: st.DrawFn) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Files, and the same dropped in some packing: alone, in archives, in archives of those."""
    files = draw(FILES)
    layer = dict(draw(st.permutations(list(files.items()))))
    for depth in range(draw(st.integers(1, 3))):
        packed: dict[str, bytes] = {}
        for number in range(draw(st.integers(1, 2))):
            if chosen := draw(st.sets(st.sampled_from(sorted(layer)))) if layer else set():
                inside = {name: layer.pop(name) for name in sorted(chosen)}
                suffix, content = draw(st.sampled_from(PACKERS))(inside)
                packed[f"p{depth}{number}{suffix}"] = content
        layer |= packed
    return files, layer


# Shrinking costs minutes, as each try waits for the disk; its examples are small already.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(packing=packings(), order=st.randoms(use_true_random=False))
def test_any_packing_in_any_order_gives_the_same_records(
    packing: tuple[dict[str, bytes], dict[str, bytes]], order: Any
) -> None:
    files, dropped = packing
    with TemporaryDirectory() as folder:
        project = IntakeProject(Path(folder))
        names = sorted(dropped)
        order.shuffle(names)
        for name in names:
            project.drop(name, dropped[name])
            if order.random() < 0.5:
                project.take(SOURCE)
        project.take(SOURCE)
        project.take(SOURCE)
        assert reasons(project) == {}
        assert contents(project) == Counter(set(files.values()))
        project.ledger.close()


def test_nothing_is_written_where_a_name_points(project: IntakeProject) -> None:
    project.drop("a.zip", zip_of({"../../evil.csv": b"1", "/tmp/evil.csv": b"2", **DAYS}))
    project.take(SOURCE)
    assert not list(project.root.parent.rglob("evil.csv"))
    assert sorted(reasons(project)) == ["a.zip/../../evil.csv", "a.zip//tmp/evil.csv"]
    assert contents(project) == Counter(DAYS.values())
