"""The spool: bytes as they came, whole or not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from headrace.errors import LedgerError
from headrace.producers.delivery import FrozenReading, Origin, RecordCount, Rejected
from headrace.producers.spool.spool import FileChangedError, Spool
from support.deliveries import identity, origin_of

CONTENT = b"a\n1\n"
FROZEN = FrozenReading('{"format":"csv"}', 3)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_bytes(CONTENT)
    return path


def place(spool: Spool, file: Path) -> str:
    one = identity(content=CONTENT)
    spool.place(spool.draft("sales", file, origin_of(file)), one)
    spool.sync_source("sales")
    return one.delivery_id


def test_an_entry_holds_the_bytes_and_what_they_are(spool: Spool, file: Path) -> None:
    one = identity(content=CONTENT)
    draft = spool.draft("sales", file, origin_of(file))
    assert (draft.content_hash, draft.size_bytes) == (one.content_hash, len(CONTENT))
    assert list(spool.delivery_ids()) == []
    spool.place(draft, one)
    spool.sync_source("sales")
    assert list(spool.delivery_ids()) == [("sales", one.delivery_id)]
    entry = spool.entry("sales", one.delivery_id)
    assert (entry.identity, entry.frozen, entry.count) == (one, None, None)
    assert spool.payload("sales", one.delivery_id).read_bytes() == CONTENT


def test_the_copy_does_not_follow_what_is_appended_to_the_file(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    with file.open("ab") as out:
        out.write(b"2\n")
    assert spool.payload("sales", delivery_id).read_bytes() == CONTENT


def test_how_it_is_read_stays_with_it(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    spool.freeze("sales", delivery_id, FROZEN)
    assert spool.entry("sales", delivery_id).frozen == FROZEN
    assert spool.entry("sales", delivery_id).count is None
    spool.counted("sales", delivery_id, RecordCount(7, 1))
    assert spool.entry("sales", delivery_id).count == RecordCount(7, 1)
    spool.reject("sales", delivery_id, Rejected("no", "of this config"))
    assert spool.entry("sales", delivery_id).frozen is None


def test_a_file_that_is_not_as_it_was_seen_is_not_taken(spool: Spool, file: Path) -> None:
    seen = origin_of(file)
    file.write_bytes(CONTENT + b"2\n")
    with pytest.raises(FileChangedError):
        spool.draft("sales", file, seen)
    file.unlink()
    with pytest.raises(FileChangedError):
        spool.draft("sales", file, seen)
    assert list((spool.root / "sales").iterdir()) == []


def test_a_file_that_changes_while_it_is_copied_is_not_taken(
    spool: Spool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = origin_of(file)
    real_fstat = os.fstat
    looks: list[os.stat_result] = []

    def fstat(descriptor: int) -> os.stat_result:
        stat = real_fstat(descriptor)
        if (stat.st_ino, len(looks)) == (seen.inode, 0):
            looks.append(stat)
            with file.open("ab") as out:
                out.write(b"2\n")
        return stat

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(FileChangedError, match="while it was copied"):
        spool.draft("sales", file, seen)
    assert looks
    assert list((spool.root / "sales").iterdir()) == []


def test_what_a_crashed_intake_left_is_cleaned_away(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    abandoned = spool.draft("sales", file, origin_of(file))
    assert abandoned.folder.is_dir()
    spool.clean()
    assert not abandoned.folder.exists()
    assert list(spool.delivery_ids()) == [("sales", delivery_id)]


def test_a_discarded_draft_leaves_nothing(spool: Spool, file: Path) -> None:
    spool.discard(spool.draft("sales", file, origin_of(file)))
    assert list((spool.root / "sales").iterdir()) == []


def test_what_expires_is_the_payload_alone(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    spool.expire("sales", delivery_id)
    assert not spool.payload("sales", delivery_id).exists()
    assert spool.entry("sales", delivery_id).identity.delivery_id == delivery_id
    spool.expire("sales", delivery_id)


def test_a_lost_payload_comes_back_from_the_same_file_only(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    content_hash = identity(content=CONTENT).content_hash
    spool.expire("sales", delivery_id)
    assert spool.recover("sales", delivery_id, file, content_hash)
    assert spool.payload("sales", delivery_id).read_bytes() == CONTENT
    spool.expire("sales", delivery_id)
    file.write_bytes(b"a\n2\n")
    assert not spool.recover("sales", delivery_id, file, content_hash)
    file.unlink()
    assert not spool.recover("sales", delivery_id, file, content_hash)
    assert not spool.payload("sales", delivery_id).exists()


def test_it_knows_its_ledger(spool: Spool) -> None:
    assert spool.owner() is None
    spool.set_owner("ledger-1")
    assert Spool(spool.root).owner() == "ledger-1"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format_version": 2}', b'{"identity": 3}'])
def test_a_damaged_identity_is_an_error_that_names_the_file(
    spool: Spool, file: Path, damage: bytes
) -> None:
    delivery_id = place(spool, file)
    path = spool.root / "sales" / delivery_id / "identity.json"
    path.write_bytes(damage)
    with pytest.raises(LedgerError, match=r"identity\.json"):
        spool.entry("sales", delivery_id)
    path.unlink()
    with pytest.raises(LedgerError, match=r"identity\.json"):
        spool.entry("sales", delivery_id)


def test_a_count_lost_in_a_power_cut_is_counted_again(spool: Spool, file: Path) -> None:
    delivery_id = place(spool, file)
    spool.freeze("sales", delivery_id, FROZEN)
    (spool.root / "sales" / delivery_id / "count.json").write_bytes(b"")
    assert spool.entry("sales", delivery_id).count is None


def test_a_spool_that_cannot_be_written_says_so(tmp_path: Path, file: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with pytest.raises(LedgerError, match="the spool cannot be used"):
        Spool(tmp_path / "spool").draft("sales", file, origin_of(file))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_half_taken(
    spool: Spool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = Path.open

    def open_(self: Path, mode: str = "r", *args: object, **kwargs: object) -> object:
        full = self.name == "payload" and "w" in mode
        return real_open(Path("/dev/full") if full else self, mode, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(LedgerError, match="No space left on device"):
        spool.draft("sales", file, origin_of(file))
    assert list((spool.root / "sales").iterdir()) == []


def test_a_file_that_may_not_be_read_is_told_apart_from_one_that_changed(
    spool: Spool, tmp_path: Path
) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        spool.draft("sales", folder, Origin("folder.csv", 0, 0, 0))
    shutil.rmtree(folder)
