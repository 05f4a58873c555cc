"""Files that have landed go where the config says; no other file does, and none is lost."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from headrace.config_files import FileSource
from headrace.producers.delivery import (
    NEVER_RETRIED,
    DeliveryState,
    FrozenReading,
    RecordCount,
)
from headrace.producers.folders.intake import Intake
from headrace.producers.folders.put_away import PutAway
from headrace.producers.folders.scan import FileStat
from headrace.producers.folders.watched_folder import WatchedFolder
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Arrived, Receiving, Rejection, SeenArchive
from headrace.producers.reconcile import reconcile
from headrace.producers.spool.spool import Spool
from support.deliveries import BEGAN

KEEP = FileSource(kind="files", path="inbox", stream="sales", settle=0)
DELETE = KEEP.model_copy(update={"after_landing": "delete"})
MOVE = KEEP.model_copy(update={"after_landing": "move", "move_to": "done"})


class Landing:
    """A project's inbox, ledger and spool; what was taken lands when it is told to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.inbox.mkdir()
        self.spool = Spool(root / "spool")
        self.ledger = Ledger(root / "ledger.db")
        self.receiving = Receiving(self.ledger, self.spool, lambda: BEGAN)
        self.intake = Intake(root, self.ledger, self.spool, self.receiving)
        self.put = PutAway(root, self.ledger)

    def drop(self, name: str, content: str) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def take(self, **keys: Any) -> None:
        source = KEEP.model_copy(update=keys)
        self.intake.take("sales", source, self.look(source).ready)

    def look(self, source: FileSource = KEEP) -> Any:
        return self.intake.look("sales", source, time.time_ns())

    def land(self, *names: str) -> None:
        """All that is received (of these names) is read, published and lands."""
        for row in self.ledger.deliveries((DeliveryState.RECEIVED,)):
            if not names or row.name in names:
                self.ledger.freeze(row.delivery_id, FrozenReading("{}", 0))
                self.ledger.published(row.delivery_id, RecordCount(1, 0), 0)
                self.ledger.land([row.delivery_id], None, BEGAN)

    def put_away(self, source: FileSource = MOVE) -> int:
        return self.put.put_away("sales", source).done

    def there(self, folder: str = "inbox") -> list[str]:
        root = self.root / folder
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


@pytest.fixture
def shop(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def test_only_what_has_landed_is_put_away(shop: Landing) -> None:
    for name in ("a.csv", "b.csv", "sub/c.csv", "rejected.csv"):
        shop.drop(name, name)
    shop.take()
    shop.drop("new.csv", "new")
    (rejected,) = [row for row in shop.ledger.deliveries(list(DeliveryState)) if "rej" in row.name]
    shop.ledger.reject(rejected.delivery_id, "no", "config-1")
    assert shop.put_away() == 0
    shop.land("a.csv", "sub/c.csv")
    assert shop.put_away(KEEP) == 0
    assert shop.put_away() == 2
    assert shop.there() == ["b.csv", "new.csv", "rejected.csv"]
    assert shop.there("done") == ["a.csv", "sub/c.csv"]
    assert (shop.root / "done" / "a.csv").read_text() == "a.csv"
    shop.land()
    assert shop.put_away(DELETE) == 1
    assert shop.there() == ["new.csv", "rejected.csv"]
    assert [stat.name for stat in shop.look().ready] == ["new.csv"]
    assert shop.put_away(DELETE) == 0


def test_the_spool_keeps_the_bytes(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    shop.put_away(DELETE)
    (row,) = shop.ledger.deliveries(list(DeliveryState))
    assert shop.spool.payload("sales", row.delivery_id).read_text() == "A"


def test_a_duplicate_goes_once_its_original_has_landed(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.take()
    shop.drop("b.csv", "A")
    shop.take()
    assert shop.put_away() == 0
    shop.land()
    assert shop.put_away() == 2
    shop.drop("a.csv", "A")
    shop.take()
    assert shop.put_away() == 1
    assert shop.there("done") == ["a-2.csv", "a.csv", "b.csv"]


def test_a_duplicate_of_what_repeats_another_since_goes_with_that_one(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.take()
    reject(shop, "a.csv")
    for _ in range(2):
        shop.drop("b.csv", "A")
        shop.take()
    reject(shop, "b.csv")
    a, b, again = shop.ledger.deliveries(list(DeliveryState))
    assert again.duplicate_of == b.delivery_id
    shop.ledger.retry(a.delivery_id, "sales")
    shop.ledger.repeats(b.delivery_id, a.delivery_id)
    assert shop.put_away() == 0
    shop.land()
    assert shop.put_away() == 2


def test_what_was_revoked_stays_and_what_was_read_anew_goes(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.drop("b.csv", "B")
    shop.take()
    shop.land()
    ids = {row.name: row.delivery_id for row in shop.ledger.deliveries(list(DeliveryState))}
    again = shop.receiving.take_again(shop.ledger.delivery(ids["b.csv"]), "sales")
    shop.ledger.revoke(ids.values())
    shop.drop("c.csv", "A")
    shop.take()
    assert shop.put_away() == 0
    assert again.identity.again_of == ids["b.csv"]
    shop.land("b.csv")
    assert shop.put_away() == 1
    assert shop.there("done") == ["b.csv"]


def test_a_file_that_changed_since_stays(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.drop("b.csv", "B")
    shop.take()
    shop.land()
    shop.drop("a.csv", "AA")
    os.utime(shop.inbox / "b.csv", ns=(1, 1))
    assert shop.put_away(DELETE) == 0
    assert shop.there() == ["a.csv", "b.csv"]


def test_a_file_that_changes_right_before_stays(
    shop: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    landed_files = shop.ledger.landed_files

    def then_written(*args: Any) -> Any:
        shop.drop("a.csv", "A and more")
        return landed_files(*args)

    monkeypatch.setattr(shop.ledger, "landed_files", then_written)
    assert shop.put_away() == 0
    assert shop.there("done") == []
    assert shop.there() == ["a.csv"]


@pytest.mark.parametrize("source", [MOVE, DELETE], ids=["move", "delete"])
def test_a_file_renamed_into_its_place_while_it_is_put_away_stays(
    shop: Landing, monkeypatch: pytest.MonkeyPatch, source: FileSource
) -> None:
    path = shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    newer = shop.root / "a.csv.part"
    newer.write_text("B")

    def then_replaced(_: Path) -> bool:
        if newer.exists():
            newer.replace(path)
        return False

    monkeypatch.setattr("headrace.producers.folders.moving.is_being_written", then_replaced)
    assert shop.put_away(source) == 0
    assert path.read_text() == "B"
    assert not (shop.root / "done").exists() or shop.there("done") == []
    shop.take()
    shop.land()
    assert shop.put_away(source) == 1


def test_a_file_that_somebody_writes_stays_however_long_he_pauses(shop: Landing) -> None:
    path = shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    with path.open("a") as file:
        assert shop.put_away() == 0
        assert shop.put_away(DELETE) == 0
        file.write(" and more")
    assert shop.put_away() == 0
    shop.take()
    shop.land()
    with path.open("r"):  # who only reads has it still
        assert shop.put_away() == 1
    assert (shop.root / "done" / "a.csv").read_text() == "A and more"


def archive(shop: Landing, **members: str | None) -> None:
    """Take an archive with members of this content; None: a rejected one."""
    path = shop.drop("a.zip", repr(members))
    stat = path.stat()
    origin = WatchedFolder(shop.root, "sales", KEEP).origin(
        FileStat(path, "a.zip", stat.st_ino, stat.st_size, stat.st_mtime_ns)
    )
    arrived = [
        Arrived(
            f"a.zip/{name}",
            origin,
            None if content is None else shop.spool.draft_bytes("sales", content.encode()),
            member=True,
            rejection=Rejection("broken", "config", "hash") if content is None else None,
        )
        for name, content in members.items()
    ]
    shop.receiving.receive("sales", "sales", arrived, seen=SeenArchive(origin, repr(members)))


ZIPS = KEEP.model_copy(
    update={"after_landing": "move", "move_to": "done", "patterns": ("*.zip", "*.csv")}
)


def test_an_archive_goes_when_all_its_members_have_landed(shop: Landing) -> None:
    archive(shop, one="1", two="2", same="1")
    assert shop.put_away(ZIPS) == 0
    shop.land("a.zip/one")
    assert shop.put_away(ZIPS) == 0
    shop.land("a.zip/two")
    assert shop.put_away(ZIPS) == 1
    assert shop.there("done") == ["a.zip"]


def test_an_archive_that_repeats_another_waits_for_it_also_when_unpacked_again(
    shop: Landing,
) -> None:
    shop.drop("first.csv", "1")
    shop.take()
    archive(shop, one="1")
    archive(shop, one="1")  # written anew, so unpacked again
    assert shop.put_away(ZIPS) == 0
    shop.land()
    assert shop.put_away(ZIPS) == 2


def test_an_archive_with_a_rejected_member_stays_until_it_was_corrected(shop: Landing) -> None:
    archive(shop, one="1", two=None)
    shop.land()
    assert shop.put_away(ZIPS) == 0
    archive(shop, one="1", two="2")
    assert shop.put_away(ZIPS) == 0
    shop.land()
    assert shop.put_away(ZIPS) == 1


def reject(shop: Landing, name: str, with_config: str = "config-1") -> None:
    """What is received of that name turns out to be no good."""
    for row in shop.ledger.deliveries((DeliveryState.RECEIVED,)):
        if row.name == name:
            shop.ledger.reject(row.delivery_id, "no", with_config)


def rejected_there(shop: Landing) -> list[str]:
    return [row.name for row in shop.look(ZIPS).rejected]


@pytest.mark.parametrize("with_config", ["config-1", NEVER_RETRIED])
def test_an_archive_touched_while_a_member_is_on_its_way_stays_when_that_is_rejected(
    shop: Landing, with_config: str
) -> None:
    for _ in range(2):
        archive(shop, good="1", bad="2")
    shop.land("a.zip/good")
    reject(shop, "a.zip/bad", with_config)
    assert shop.put_away(ZIPS) == 0
    assert rejected_there(shop) == ["a.zip/bad"]
    archive(shop, good="1", more="3", bad="2")
    reject(shop, "a.zip/bad", with_config)
    shop.land()
    assert shop.put_away(ZIPS) == 0
    assert set(rejected_there(shop)) == {"a.zip/bad"}
    archive(shop, good="1", more="3", bad="4")
    assert shop.put_away(ZIPS) == 0
    shop.land()
    assert rejected_there(shop) == []
    assert shop.put_away(ZIPS) == 1


def test_an_archive_unpacked_again_after_a_crash_stays_when_a_member_is_rejected(
    shop: Landing,
) -> None:
    archive(shop, bad="1", good="2")
    shop.ledger.close()
    (shop.root / "ledger.db").unlink()
    shop.ledger = Ledger(shop.root / "ledger.db")
    reconcile(shop.ledger, shop.spool)
    shop.receiving = Receiving(shop.ledger, shop.spool, lambda: BEGAN)
    shop.intake = Intake(shop.root, shop.ledger, shop.spool, shop.receiving)
    shop.put = PutAway(shop.root, shop.ledger)
    archive(shop, bad="1", good="2")
    reject(shop, "a.zip/bad")
    shop.land()
    assert shop.put_away(ZIPS) == 0
    assert rejected_there(shop) == ["a.zip/bad"]


def test_a_rejected_member_does_not_hold_up_what_comes_in_its_archives_place(
    shop: Landing,
) -> None:
    archive(shop, monday="1", bad="2")
    reject(shop, "a.zip/bad")
    archive(shop, tuesday="3")
    shop.land()
    assert rejected_there(shop) == []
    assert shop.put_away(ZIPS) == 1


def test_what_repeats_the_beginning_of_a_file_that_grew_goes_once_that_has_landed(
    shop: Landing,
) -> None:
    shop.drop("a.csv", "A")
    shop.drop("b.csv", "A")
    shop.take()
    shop.land()
    for content in ("A and more", "A and more and more"):
        replaced = shop.ledger.deliveries((DeliveryState.LANDED,))
        shop.drop("a.csv", content)
        shop.take()
        shop.ledger.revoke(row.delivery_id for row in replaced)
        assert shop.put_away() == 0
        shop.land()
    assert shop.put_away() == 2
    assert shop.there("done") == ["a.csv", "b.csv"]


def test_what_repeats_the_beginning_of_a_file_that_was_revoked_stays(shop: Landing) -> None:
    shop.drop("a.csv", "A")
    shop.drop("b.csv", "A")
    shop.take()
    shop.land()
    shop.drop("a.csv", "A and more")
    shop.take()
    shop.land()
    shop.ledger.revoke(row.delivery_id for row in shop.ledger.deliveries((DeliveryState.LANDED,)))
    assert shop.put_away() == 0


def test_the_marker_of_a_file_goes_with_it_and_that_of_a_folder_stays(shop: Landing) -> None:
    for name in ("a.csv", "a.csv.done", "_SUCCESS"):
        shop.drop(name, name)
    shop.take()
    shop.land()
    assert shop.put_away(MOVE.model_copy(update={"marker": ".done"})) == 1
    assert shop.there() == ["_SUCCESS"]
    shop.drop("b.csv", "b")
    shop.take(marker="_SUCCESS")
    shop.land()
    assert shop.put_away(MOVE.model_copy(update={"marker": "_SUCCESS"})) == 1
    assert shop.there() == ["_SUCCESS"]
    assert shop.there("done") == ["a.csv", "b.csv"]


def test_names_that_are_taken_get_a_number(shop: Landing) -> None:
    names = ["a.csv", "b.csv.gz", "x" * 251 + ".csv", "no ending", "5.6.2026.csv"]
    source = MOVE.model_copy(update={"patterns": ("*",)})
    for turn in range(3):
        for name in names:
            shop.drop(name, f"{name} {turn}")
        shop.take(patterns=("*",))
        shop.land()
        assert shop.put_away(source) == 5
    found = set(shop.there("done"))
    assert len(found) == 15
    assert {"a-2.csv", "a-3.csv", "b-2.csv.gz", "no ending-2", "5.6.2026-2.csv"} <= found
    assert "x" * 249 + "-2.csv" in found


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch, shop: Landing) -> None:
    """As if the target were on another one."""
    link = Path.hardlink_to

    def within_one(path: Path, target: Path) -> None:
        if (shop.inbox in Path(target).parents) != (shop.inbox in path.parents):
            no_links()
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", within_one)


@pytest.mark.usefixtures("other_file_system")
def test_a_file_is_copied_to_another_file_system(shop: Landing) -> None:
    for turn in range(2):
        shop.drop("a.csv", f"A {turn}")
        os.utime(shop.inbox / "a.csv", ns=(5, 7))
        shop.take()
        shop.land()
        assert shop.put_away() == 1
    assert shop.there("done") == ["a-2.csv", "a.csv"]
    assert shop.there() == []
    assert (shop.root / "done" / "a-2.csv").read_text() == "A 1"
    assert (shop.root / "done" / "a-2.csv").stat().st_mtime_ns == 7


@pytest.mark.usefixtures("other_file_system")
@pytest.mark.parametrize("links", [True, False])
def test_after_a_crash_between_copy_and_removal_there_is_one_copy(
    shop: Landing, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    crash_before_removal(shop, monkeypatch)
    assert shop.there("done") == ["a.csv"]
    assert shop.put_away() == 1
    assert shop.there("done") == ["a.csv"]
    assert shop.there() == []


def test_after_a_crash_between_its_two_names_a_file_has_one(
    shop: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop.root / "done").mkdir()
    (shop.root / "done" / "a.csv").write_text("another")
    shop.drop("a.csv", "A")
    shop.take()
    shop.land()
    crash_before_removal(shop, monkeypatch)
    assert shop.there("done") == ["a-2.csv", "a.csv"]
    assert shop.put_away() == 1
    assert shop.there("done") == ["a-2.csv", "a.csv"]
    assert shop.there() == []


class Killed(BaseException):
    """The process ends here."""


def crash_before_removal(shop: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def die(path: Path, **keys: bool) -> None:
        if path.parent == shop.inbox:
            raise Killed
        unlink(path, **keys)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die)
        with pytest.raises(Killed):
            shop.put_away()


def test_of_a_link_the_link_goes_and_what_it_points_to_stays(shop: Landing) -> None:
    real = shop.root / "real.csv"
    real.write_text("A")
    (shop.inbox / "a.csv").symlink_to("../real.csv")
    shop.take()
    shop.land()
    assert shop.put_away() == 1
    assert (shop.root / "done" / "a.csv").read_text() == "A"
    assert not (shop.root / "done" / "a.csv").is_symlink()
    assert real.read_text() == "A"
    assert shop.there() == []


def test_what_cannot_be_put_away_is_said_once_and_tried_again(
    shop: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.drop("a.csv", "A")
    shop.drop("b.csv", "B")
    shop.take()
    shop.land()

    def refuse(path: Path, **_: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched, structlog.testing.capture_logs() as logs:
        patched.setattr(Path, "unlink", refuse)
        for _ in range(3):
            report = shop.put.put_away("sales", MOVE)
            assert (report.done, [file.name for file in report.stayed]) == (0, ["a.csv", "b.csv"])
    (notice,) = report.notices("sales")
    assert [line["name"] for line in logs] == ["a.csv", "b.csv"]
    assert logs[0]["reason"] == "Permission denied"
    assert "right to write to" in logs[0]["remedy"]
    assert notice.startswith(
        "sales: a.csv and 1 more: landed, and cannot be put away: Permission denied\n  -> give"
    )
    assert shop.put_away() == 2
    assert shop.there("done") == ["a.csv", "b.csv"]
    assert shop.put.put_away("sales", MOVE).stayed == ()


def test_odd_names_are_moved_and_a_folder_that_is_gone_is_no_error(shop: Landing) -> None:
    odd = ["new\nline.csv", "with space.csv", os.fsdecode(b"caf\xe9.csv")]
    for name in odd:
        shop.drop(name, ascii(name))
    shop.take()
    shop.land()
    assert shop.put_away() == 3
    assert shop.there("done") == sorted(odd)
    shop.inbox.rmdir()
    assert shop.put_away() == 0


def test_many_files_are_asked_for_at_once(shop: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.producers.ledger.landed._ASKED_ONE_BY_ONE", 2)
    for number in range(5):
        shop.drop(f"{number}.csv", str(number))
    shop.take()
    shop.land("1.csv", "3.csv", "4.csv")
    assert shop.put_away() == 3
    assert shop.there("done") == ["1.csv", "3.csv", "4.csv"]
