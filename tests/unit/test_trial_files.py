"""`headrace sources test` and `doctor` on a watched folder: what cannot be read is one line."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.checkup import _source, check_up
from headrace.cli.commands.contract import _propose
from headrace.cli.project import open_project
from headrace.cli.start_up import absent_folders
from headrace.cli.trial import Said, try_source
from headrace.config_file import load_config
from headrace.errors import UsageError
from headrace.producers.folders.watched_folder import FolderAbsentError
from support.archive_files import zip_of

CONFIG = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text(CONFIG)
    (tmp_path / "inbox").mkdir()
    return tmp_path


def tried(root: Path, files: int = 3) -> list[Said]:
    return list(try_source(load_config(root), "sales", most_files=files))


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files of this name may not be read, as by one who has no right to."""
    open_ = Path.open

    def refusing(self: Path, mode: str = "r", **how: Any) -> object:
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return open_(self, mode, **how)

    monkeypatch.setattr(Path, "open", refusing)


def test_a_file_that_may_not_be_read_is_one_line_and_the_others_are_read(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "inbox" / "c.csv").write_text("item\nx\n")
    (shop / "inbox" / "d.csv").write_text("item\ny\n")
    refuse(monkeypatch, "c.csv")
    said = tried(shop)
    (problem,) = [one.text for one in said if one.is_problem]
    assert problem.startswith("  c.csv: cannot be read: Permission denied\n  -> ")
    assert [one.text for one in said if '"y"' in one.text]


def test_where_the_project_may_not_be_written_that_is_said(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refusing)
    with pytest.raises(UsageError, match=f"{shop}.* cannot be written: Permission denied"):
        tried(shop)


def test_a_folder_that_is_not_there_is_said_with_what_to_do(shop: Path) -> None:
    (shop / "inbox").rmdir()
    with pytest.raises(FolderAbsentError) as absent:
        tried(shop)
    assert absent.value.exit_code == 1
    (said,) = absent_folders(load_config(shop))
    assert said == str(absent.value)
    assert said.startswith("sources.sales.path: there is no folder")


def test_what_may_not_be_looked_into_is_not_nothing(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "inbox" / "locked").mkdir()
    scandir = os.scandir

    def refusing(name: str, path: str) -> object:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", partial(refusing, "locked"))
    (problem,) = [one.text for one in tried(shop) if one.is_problem]
    assert problem == "  locked/: cannot be read: Permission denied"
    monkeypatch.setattr(os, "scandir", partial(refusing, "inbox"))
    with pytest.raises(FolderAbsentError, match="inbox cannot be read: Permission denied"):
        tried(shop)


def test_files_that_no_pattern_matches_are_named(shop: Path) -> None:
    for name in ("sales.txt", "export.dat", "~$b.xlsx", "c.csv.tmp", ".hidden", "a.log"):
        (shop / "inbox" / name).write_text("id\n1\n")
    (shop / "headrace.toml").write_text(
        CONFIG
        + '[sources.logs]\nkind = "files"\npath = "./inbox"\npatterns = ["*.log"]\nstream = "x"\n'
    )
    (doubtful,) = [one for one in tried(shop) if one.is_doubtful]
    assert doubtful.text == "  2 files match no pattern: export.dat, sales.txt"
    assert not doubtful.is_problem
    (finding,) = _source(open_project(shop), "sales")
    assert (finding.state, finding.text) == ("warning", doubtful.text.strip())
    assert finding.remedy is not None


def test_members_that_no_pattern_matches_are_named(shop: Path) -> None:
    (shop / "inbox" / "a.zip").write_bytes(
        zip_of({"a.csv": b"id\n1\n", "b/sales.txt": b"x", "__MACOSX/._a.csv": b"x"})
    )
    (doubtful,) = [one.text for one in tried(shop) if one.is_doubtful]
    assert doubtful == "  1 member matches no pattern: b/sales.txt"


def test_the_unfinished_last_line_of_a_followed_log_is_no_unreadable_one(shop: Path) -> None:
    (shop / "headrace.toml").write_text(CONFIG + 'format = "ndjson"\nfollow = true\n')
    (shop / "inbox" / "a.ndjson").write_text('{"id": 1}\n{"id": 2}\n{"id":')
    said = tried(shop)
    assert not any(one.is_problem for one in said)
    assert [one.text for one in said if "unreadable" in one.text] == ["  2 records, 0 unreadable"]
    assert "  its last line has no end yet, and waits for it" in [one.text for one in said]


def test_a_long_record_is_shown_by_its_beginning(shop: Path) -> None:
    (shop / "inbox" / "a.ndjson").write_text(f'{{"pad": "{"x" * 100_000}"}}\n')
    text = "\n".join(one.text for one in tried(shop))
    assert len(text) < 2_000
    assert "xxx... (100,011 characters)" in text


def test_a_rejected_file_is_one_note_of_a_proposal(shop: Path) -> None:
    (shop / "inbox" / "a.csv").write_text("item\nx\n")
    (shop / "inbox" / "b.csv").write_bytes(b"%PDF-1.7\n")
    (note,) = [note for note in _propose(load_config(shop), "sales").notes if "b.csv" in note]
    assert note.startswith("b.csv: found a PDF document")


def test_the_doctor_goes_on_where_a_part_may_not_be_looked_at(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("headrace.producers.ledger.listing.list_deliveries", refusing)
    monkeypatch.setattr("headrace.cli.checkup._broker", lambda _: iter(()))
    monkeypatch.setattr("headrace.cli.checkup._lake", lambda _: iter(()))
    found = {finding.part: finding for finding in check_up(open_project(shop))}
    assert found["ledger"].text.endswith("ledger.db cannot be used: Permission denied")
    assert found["source sales"].state == "ok"
