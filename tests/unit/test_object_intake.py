"""Objects of a prefix into spool and ledger: each once, whatever happens to it meanwhile."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config_files import FileSource
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.intake import Intake, Look, Taken
from headrace.producers.ledger import Ledger
from headrace.producers.object_intake import ObjectIntake
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.source_intake import SourceIntake
from headrace.producers.spool import Spool
from parts.s3 import S3Server
from support.deliveries import BEGAN
from support.object_bucket import Bucket


class Shop:
    """A project's ledger and spool with a source over a bucket, or over a folder."""

    def __init__(self, root: Path, path: str = "inbox", **keys: object) -> None:
        self.root = root
        self.spool = Spool(root / "spool")
        self.ledger = Ledger(root / "ledger.db")
        reconcile(self.ledger, self.spool)
        self.source = FileSource.model_validate(
            {"kind": "files", "stream": "sales", "settle": 0, "path": path, **keys}
        )
        receiving = Receiving(self.ledger, self.spool, lambda: BEGAN)
        self.folders = Intake(root, self.ledger, self.spool, receiving)
        self.objects = ObjectIntake(self.ledger, self.spool, receiving)
        self.intake: SourceIntake = self.objects if "://" in path else self.folders

    def looks(self) -> Iterator[Look]:
        return self.intake.looks("sales", self.source, time.time_ns())

    def pass_over(self) -> list[Taken]:
        """One look at everything, with all that is ready taken."""
        return [
            self.intake.take("sales", self.source, look.ready)
            for look in self.looks()
            if look.ready
        ]

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


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str) -> Bucket:
    return Bucket(s3_server, s3_bucket)


def shop(root: Path, bucket: Bucket, **keys: object) -> Shop:
    options = keys.pop("options", bucket.options())
    return Shop(root, f"s3://{bucket.name}/in", options=options, **keys)


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
