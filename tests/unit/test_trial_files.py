"""`headrace sources test` and `doctor` on a watched folder: what cannot be read is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli.trial import Said, try_source
from headrace.config_file import load_config
from headrace.errors import UsageError

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

    def refusing(self: Path, mode: str = "r") -> object:
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return open_(self, mode)

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
