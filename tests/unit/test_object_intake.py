"""Objects of a prefix into spool and ledger: each once, whatever happens to it meanwhile."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from faults.proxy import FaultyProxy
from headrace.config_files import FileSource
from headrace.errors import ConfigError
from headrace.object_place import is_object_place
from headrace.producers.delivery import (
    BronzeVersion,
    DeliveryRow,
    DeliveryState,
    FrozenReading,
    RecordCount,
)
from headrace.producers.folders.intake import Intake, Look, Taken
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.objects.errors import ObjectUnreadableError
from headrace.producers.objects.intake import ObjectIntake, open_store
from headrace.producers.objects.put_away import ObjectPutAway
from headrace.producers.objects.store import ObjectStore, StoredObject
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.source_intake import Intakes, SourceIntake
from headrace.producers.spool.spool import Spool
from headrace.producers.unreachable import SourceUnreachableError
from parts.s3 import S3Server
from support.deliveries import BEGAN
from support.object_bucket import Bucket


class Shop:
    """A project's ledger and spool with a source over a bucket, or over a folder."""

    def __init__(self, root: Path, **keys: object) -> None:
        self.root = root
        self.spool = Spool(root / "spool")
        self.ledger = Ledger(root / "ledger.db")
        reconcile(self.ledger, self.spool)
        self.source = FileSource.model_validate(
            {"kind": "files", "stream": "sales", "settle": 0, "path": "inbox", **keys}
        )
        receiving = Receiving(self.ledger, self.spool, lambda: BEGAN)
        self.folders = Intake(root, self.ledger, self.spool, receiving)
        self.objects = ObjectIntake(self.ledger, self.spool, receiving, self.open_store)
        self.meddle: Callable[[StoredObject], None] = lambda _: None
        self.listed: list[str] = []
        self.backwards = False
        over_objects = is_object_place(self.source.path)
        self.intake: SourceIntake = self.objects if over_objects else self.folders

    def open_store(self, name: str, source: FileSource) -> ObjectStore:
        return _Meddling(self, open_store(name, source))

    def restart(self) -> Shop:
        self.ledger.close()
        self.spool.clean()
        keys = self.source.model_dump(exclude_unset=True, by_alias=True)
        return Shop(self.root, **keys)

    def looks(self) -> Iterator[Look]:
        return self.intake.looks("sales", self.source, time.time_ns())

    def pass_over(self) -> list[Taken]:
        """One look at everything, with all that is ready taken."""
        return [
            self.intake.take("sales", self.source, look.ready)
            for look in self.looks()
            if look.ready
        ]

    def put_away(self) -> int:
        return ObjectPutAway(self.ledger, self.objects.store).put_away("sales", self.source).done

    def land(self) -> None:
        """All that is on its way lands."""
        for row in self.rows(DeliveryState.RECEIVED):
            self.ledger.freeze(row.delivery_id, FrozenReading("{}", 0))
            self.ledger.published(row.delivery_id, RecordCount(1, 0), 0)
            self.ledger.land([row.delivery_id], BronzeVersion("bronze", 1), BEGAN)

    def rows(self, *states: DeliveryState) -> list[DeliveryRow]:
        return self.ledger.deliveries(states or list(DeliveryState))

    def states(self) -> list[tuple[str, str]]:
        return [(row.name, row.state.value) for row in self.rows()]

    def contents(self) -> set[tuple[str, bytes]]:
        """What is on its way, by name."""
        return {
            (row.name, self.spool.payload("sales", row.delivery_id).read_bytes())
            for row in self.rows(DeliveryState.RECEIVED)
        }


class _Meddling(ObjectStore):
    """The store, with something happening before an object is downloaded."""

    def __init__(self, owner: Shop, store: ObjectStore) -> None:
        super().__init__(store.place, store._options, store._client)
        self._owner = owner

    def pages(
        self, after: str | None = None, *, recursive: bool = True
    ) -> Iterator[list[StoredObject]]:
        for page in super().pages(after, recursive=recursive):
            self._owner.listed += [stored.key for stored in page]
            yield page[::-1] if self._owner.backwards else page

    def chunks(self, stored: StoredObject) -> Iterator[bytes]:
        self._owner.meddle(stored)
        return super().chunks(stored)


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str) -> Bucket:
    return Bucket(s3_server, s3_bucket)


def shop(root: Path, bucket: Bucket, **keys: object) -> Shop:
    keys = {"options": bucket.options(), **keys}
    return Shop(root, **{"path": f"s3://{bucket.name}/in", **keys})


def archive(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.csv", content)
    return packed.getvalue()


def test_a_prefix_and_a_folder_with_the_same_files_give_the_same_deliveries(
    tmp_path: Path, bucket: Bucket
) -> None:
    files = {
        "a.csv": b"item\n1\n",
        "b b+%41.csv": b"item\n2\n",
        "sub/ünï.csv": b"item\n3\n",
        "sub/deep/same as a.csv": b"item\n1\n",
        "left out.txt": b"no\n",
        ".hidden.csv": b"no\n",
        "old/x.csv": b"no\n",
        "copied.csv.part": b"no\n",
        "zip.zip": archive(one=b"item\n4\n", two=b"item\n5\n"),
        "broken.zip": archive(one=b"item\n6\n")[:-10],
    }
    for name, content in files.items():
        path = tmp_path / "folder" / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        bucket.put("in/" + name, content)
    bucket.put("in/sub/", b"")  # as a store's own page makes folders
    keys: dict[str, object] = {"patterns": ["*.csv", "*.zip"], "ignore": ["old"]}
    from_folder = Shop(tmp_path / "folder", **keys)
    from_prefix = shop(tmp_path / "prefix", bucket, **keys)
    for one in (from_folder, from_prefix):
        one.pass_over()
    assert sorted(from_prefix.states()) == sorted(from_folder.states())
    assert from_prefix.contents() == from_folder.contents()
    assert ("zip.zip/two.csv", b"item\n5\n") in from_prefix.contents()
    assert len(from_prefix.contents()) == 5
    assert from_prefix.pass_over() == []


def test_an_object_put_again_is_a_duplicate_a_changed_one_new_a_deleted_one_forgotten(
    tmp_path: Path, bucket: Bucket
) -> None:
    one = shop(tmp_path, bucket)
    bucket.put("in/a.csv", b"A")
    one.pass_over()
    bucket.delete("in/a.csv")
    one.pass_over()
    assert one.states() == [("a.csv", "received")]
    bucket.put("in/other name.csv", b"A")
    bucket.put("in/a.csv", b"B")
    one.pass_over()
    bucket.put("in/a.csv", b"A")
    one.pass_over()
    assert one.states() == [
        ("a.csv", "received"),
        ("a.csv", "received"),
        ("other name.csv", "duplicate"),
        ("a.csv", "received"),
    ]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("listing", ["whole", "ordered"])
@pytest.mark.parametrize("where", ["download", "place", "record", "cursor"])
def test_killed_anywhere_each_object_is_taken_once(
    tmp_path: Path,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    listing: str,
    where: str,
) -> None:
    for number in range(6):
        bucket.put(f"in/{number}.csv", f"item\n{number}\n")
    one = shop(tmp_path, bucket, listing=listing)
    calls = 0

    def kill(*_: object, **__: object) -> None:
        nonlocal calls
        calls += 1
        if calls == (3 if where in ("download", "place") else 1):
            raise Killed

    if where == "download":
        one.meddle = kill
    elif where == "cursor":
        monkeypatch.setattr(one.ledger, "set_cursors", kill)
    else:
        target = one.spool if where == "place" else one.ledger
        act = getattr(target, where)

        def act_unless_killed(*given: object, **named: object) -> object:
            kill()
            return act(*given, **named)

        monkeypatch.setattr(target, where, act_unless_killed)
    if where == "cursor" and listing == "whole":
        one.pass_over()
    else:
        with pytest.raises(Killed):
            one.pass_over()
    again = one.restart()
    again.pass_over()
    assert again.contents() == {(f"{n}.csv", f"item\n{n}\n".encode()) for n in range(6)}
    assert len(again.rows()) == 6
    assert again.restart().pass_over() == []


def test_where_names_grow_only_what_is_behind_the_last_known_is_listed(
    tmp_path: Path, bucket: Bucket
) -> None:
    one = shop(tmp_path, bucket, listing="ordered")
    for name in ("1.csv", "2.csv", "2.txt"):
        bucket.put("in/" + name, name)
    one.pass_over()
    one = one.restart()
    for name in ("0.csv", "3.csv", "4.csv", "5.csv"):
        bucket.put("in/" + name, name)

    def refuse_one(stored: StoredObject) -> None:
        if stored.key == "in/4.csv":
            raise ObjectUnreadableError("access denied")

    one.meddle = refuse_one
    (taken,) = one.pass_over()
    assert [(stat.name, why) for stat, why in taken.unreadable] == [("4.csv", "access denied")]
    assert one.listed == ["in/3.csv", "in/4.csv", "in/5.csv"]
    # The one that could not be had, and what came behind it, is listed again.
    one = one.restart()
    one.pass_over()
    assert one.listed == ["in/4.csv", "in/5.csv"]
    assert {name for name, _ in one.contents()} == {f"{n}.csv" for n in range(1, 6)}
    one = one.restart()
    one.pass_over()
    assert one.listed == []


def test_where_names_grow_other_patterns_have_what_they_take_listed(
    tmp_path: Path, bucket: Bucket
) -> None:
    one = shop(tmp_path, bucket, listing="ordered", patterns=["*.csv"])
    for name in ("1.csv", "2.json", "3.csv"):
        bucket.put("in/" + name, name)
    one.pass_over()
    one.ledger.close()
    one = shop(tmp_path, bucket, listing="ordered", patterns=["*.csv", "*.json"])
    one.pass_over()
    assert {name for name, _ in one.contents()} == {"1.csv", "2.json", "3.csv"}
    one = one.restart()
    one.pass_over()
    assert one.listed == []


def test_a_store_that_lists_in_another_order_is_no_use_where_names_grow(
    tmp_path: Path, bucket: Bucket
) -> None:
    for name in ("a-b.csv", "a.csv", "a/b.csv", "a0.csv", "\xfc.csv", "\U0001f600.csv"):
        bucket.put("in/" + name, name)
    ordered = shop(tmp_path / "in order", bucket, listing="ordered")
    ordered.pass_over()
    assert len(ordered.rows()) == 6
    for listing, taken in (("ordered", 0), ("whole", 6)):
        one = shop(tmp_path / listing, bucket, listing=listing)
        one.backwards = True
        if listing == "ordered":
            with pytest.raises(SourceUnreachableError, match="not in the order of keys"):
                one.pass_over()
        else:
            one.pass_over()
        assert len(one.rows()) == taken


def test_an_object_replaced_while_it_is_downloaded_is_taken_as_it_is_then(
    tmp_path: Path, bucket: Bucket
) -> None:
    bucket.put("in/a.csv", b"first")
    bucket.put("in/b.csv", b"other")
    one = shop(tmp_path, bucket)
    one.meddle = lambda stored: bucket.put(stored.key, b"second") if "a" in stored.key else None
    (taken,) = one.pass_over()
    assert [stat.name for stat in taken.changed] == ["a.csv"]
    one.meddle = lambda _: None
    one.pass_over()
    assert one.contents() == {("b.csv", b"other"), ("a.csv", b"second")}


def test_a_store_that_goes_away_loses_nothing_and_is_named(tmp_path: Path, bucket: Bucket) -> None:
    for number in range(30):
        bucket.put(f"in/{number:02}.csv", str(number))
    with FaultyProxy(int(bucket.server.endpoint.rpartition(":")[2])) as proxy:
        one = shop(tmp_path, bucket, options=bucket.options(proxy.port, max_retries="0"))
        began = []

        def go_away(stored: StoredObject) -> None:
            began.append(stored.key)
            if len(began) == 12:
                proxy.refuse()

        one.meddle = go_away
        (taken,) = one.pass_over()
        assert taken.failure is not None
        assert f"sources.sales: s3://{bucket.name}/in: it cannot be reached" in str(taken.failure)
        assert len(began) < 30, "the others are not tried one by one"
        with pytest.raises(SourceUnreachableError):
            one.pass_over()
        proxy.heal()
        one.meddle = lambda _: None
        one.pass_over()
    assert one.contents() == {(f"{n:02}.csv", str(n).encode()) for n in range(30)}
    assert len(one.rows()) == 30


def test_markers_say_which_objects_are_complete(tmp_path: Path, bucket: Bucket) -> None:
    by_file = shop(tmp_path / "file", bucket, marker=".done", patterns=["*"])
    by_folder = shop(tmp_path / "folder", bucket, marker="_SUCCESS", patterns=["*.csv"])
    for key in ("in/a.csv", "in/b.csv", "in/b.csv.done", "in/d/x.csv", "in/e/y.csv"):
        bucket.put(key, key)
    bucket.put("in/d/_SUCCESS", b"")
    looks = list(by_file.looks())
    assert {stat.name for look in looks for stat in look.unmarked} == {
        *("a.csv", "d/x.csv", "e/y.csv", "d/_SUCCESS")
    }
    by_file.pass_over()
    by_folder.pass_over()
    assert by_file.states() == [("b.csv", "received")]
    assert by_folder.states() == [("d/x.csv", "received")]
    bucket.put("in/a.csv.done", b"")
    bucket.put("in/_SUCCESS", b"")
    by_file.pass_over()
    by_folder.pass_over()
    assert {name for name, _ in by_file.states()} == {"a.csv", "b.csv"}
    assert {name for name, _ in by_folder.states()} == {"a.csv", "b.csv", "d/x.csv", "e/y.csv"}


def test_folders_below_are_left_alone_where_the_source_says_so(
    tmp_path: Path, bucket: Bucket
) -> None:
    bucket.put("in/a.csv", b"a")
    bucket.put("in/sub/b.csv", b"b")
    one = shop(tmp_path, bucket, recursive=False)
    one.pass_over()
    assert one.states() == [("a.csv", "received")]
    assert one.listed == ["in/a.csv"]


def test_a_renamed_source_over_the_same_prefix_is_refused(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("in/a.csv", b"a")
    one = shop(tmp_path, bucket)
    one.pass_over()
    one.folders.refuse_a_renamed_source({"sales": one.source})
    with pytest.raises(ConfigError, match=f"sources.shop watches s3://{bucket.name}/in"):
        one.folders.refuse_a_renamed_source({"shop": one.source})


# --- after landing


@pytest.mark.parametrize("after_landing", ["move", "delete"])
def test_objects_are_put_away_once_all_of_them_has_landed(
    tmp_path: Path, bucket: Bucket, after_landing: str
) -> None:
    move_to = f"s3://{bucket.name}/done" if after_landing == "move" else None
    one = shop(
        tmp_path,
        bucket,
        after_landing=after_landing,
        move_to=move_to,
        patterns=["*.csv", "*.zip"],
    )
    for name in ("a b+%41.csv", "sub/\xfc.csv"):
        bucket.put("in/" + name, name)
    bucket.put("in/repeats.csv", "a b+%41.csv")
    bucket.put("in/x.zip", archive(one=b"1", two=b"2"))
    bucket.put("in/left.txt", b"no")
    one.pass_over()
    assert one.put_away() == 0, "nothing has landed yet"
    one.land()
    bucket.put("in/late.csv", b"not landed")
    one.pass_over()
    assert one.put_away() == 4
    assert bucket.keys("in/") == ["in/late.csv", "in/left.txt"]
    moved = {"a b+%41.csv", "sub/\xfc.csv", "repeats.csv", "x.zip"} if move_to else set()
    assert set(bucket.keys("done/")) == {"done/" + name for name in moved}
    if move_to:
        assert bucket.read("done/sub/\xfc.csv").decode() == "sub/\xfc.csv"
    # The same name with other content is another delivery, and takes no other's place.
    bucket.put("in/sub/\xfc.csv", b"corrected")
    one.pass_over()
    one.land()
    one = one.restart()
    assert one.put_away() == 2
    if move_to:
        assert bucket.read("done/sub/\xfc.csv").decode() == "sub/\xfc.csv"
        assert bucket.read("done/sub/\xfc-2.csv") == b"corrected"
    assert one.put_away() == 0
    assert one.restart().pass_over() == []


def test_an_object_replaced_since_it_was_taken_stays(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("in/a.csv", b"A")
    one = shop(tmp_path, bucket, after_landing="delete")
    one.pass_over()
    one.land()
    bucket.put("in/a.csv", b"B")
    assert one.put_away() == 0
    one.pass_over()
    assert [row.state.value for row in one.rows()] == ["landed", "received"]
    assert bucket.read("in/a.csv") == b"B"


def test_killed_between_the_copy_and_the_deletion_a_move_ends_as_if_it_had_not_been(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("in/a.csv", b"A")
    move_to = f"s3://{bucket.name}/done"
    one = shop(tmp_path, bucket, after_landing="move", move_to=move_to)
    one.pass_over()
    one.land()

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "delete", kill)
        with pytest.raises(Killed):
            one.put_away()
    assert bucket.keys() == ["done/a.csv", "in/a.csv"]
    again = one.restart()
    intakes = Intakes(
        tmp_path, again.ledger, again.spool, Receiving(again.ledger, again.spool, lambda: BEGAN)
    )
    assert intakes.put_away("sales", again.source).done == 1
    assert bucket.keys() == ["done/a.csv"]


def test_what_cannot_be_moved_stays_and_is_said_once(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("in/a.csv", b"A")
    one = shop(tmp_path, bucket, after_landing="move", move_to="s3://no-such-bucket/done")
    one.pass_over()
    one.land()
    putting = ObjectPutAway(one.ledger, one.objects.store)
    with structlog.testing.capture_logs() as logs:
        assert [putting.put_away("sales", one.source).done for _ in range(2)] == [0, 0]
    (said,) = logs
    assert said["event"] == "file_not_put_away"
    assert "no-such-bucket" in said["reason"]
    assert bucket.keys() == ["in/a.csv"]
