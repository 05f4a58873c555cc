"""The scan: what is a delivery, what is not, and when a file is complete."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.producers.folders.scan import (
    FileStat,
    WantedNames,
    is_settled,
    survey,
    survey_names,
)


def names(
    folder: Path, *patterns: str, ignore: tuple[str, ...] = (), recursive: bool = True
) -> list[str]:
    """Found by a scan, and alike by looks at the names of all there is."""
    wanted = WantedNames(patterns, ignore=ignore, recursive=recursive)
    found = [stat.name for stat in survey(folder, wanted).files]
    all_there = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    assert [stat.name for stat in survey_names(folder, wanted, all_there).files] == found
    return found


def make(folder: Path, *files: str) -> None:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_finds_files_at_any_depth_sorted(tmp_path: Path) -> None:
    make(tmp_path, "b.csv", "a/z.csv", "a/b/c.csv", "d.txt", "A.CSV.bak")
    assert names(tmp_path, "*.csv") == ["a/b/c.csv", "a/z.csv", "b.csv"]
    assert names(tmp_path, "*.csv", "*.txt") == ["a/b/c.csv", "a/z.csv", "b.csv", "d.txt"]
    (stat,) = survey(tmp_path, WantedNames(["d.txt"])).files
    real = (tmp_path / "d.txt").stat()
    assert stat == FileStat(
        tmp_path / "d.txt", "d.txt", real.st_ino, real.st_size, real.st_mtime_ns
    )


def test_a_pattern_with_a_slash_is_for_the_whole_name(tmp_path: Path) -> None:
    make(tmp_path, "2024/a.csv", "2025/a.csv", "a.csv")
    assert names(tmp_path, "2024/*.csv") == ["2024/a.csv"]
    assert names(tmp_path, "./*/a.csv") == ["2024/a.csv", "2025/a.csv"]


def test_passes_over_hidden_and_unfinished_files(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", ".b.csv", ".git/c.csv", "d.csv~", "e.csv.tmp", "f.csv.part")
    make(tmp_path, "g.csv.crdownload", "~h.csv", "I.CSV.PART")
    make(tmp_path, "~$k.xlsx", "l/~$k.xlsx", ".~lock.k.ods#", "~$m/n.csv")
    assert names(tmp_path, "*") == ["a.csv", "~$m/n.csv", "~h.csv"]
    assert names(tmp_path, "~$*", "l/*") == []


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "a/b.csv")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.csv").symlink_to(tmp_path / "a" / "b.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.csv")
    assert names(tmp_path, "*.csv") == ["a/b.csv", "linked.csv"]


def test_a_folder_that_is_not_there_is_no_end(tmp_path: Path) -> None:
    assert survey(tmp_path / "nowhere", WantedNames(["*"])).files == ()


@pytest.mark.parametrize(
    ("age_seconds", "settle_seconds", "settled"),
    [
        (0.0, 2.0, False),
        (1.9, 2.0, False),
        (2.0, 2.0, True),
        (0.0, 0.0, True),
        (-9.0, 2.0, True),
        (-1.0, 2.0, False),
    ],
)
def test_a_file_unchanged_for_the_settling_time_is_complete(
    age_seconds: float, settle_seconds: float, settled: bool
) -> None:
    now = 1_700_000_000 * 10**9
    stat = FileStat(Path("a"), "a", 1, 1, now - int(age_seconds * 1e9))
    assert is_settled(stat, now, settle_seconds) is settled


def test_upper_case_endings_are_taken(tmp_path: Path) -> None:
    (tmp_path / "SALES.CSV").write_text("a\n1\n")
    assert [stat.name for stat in survey(tmp_path, WantedNames(["*.csv"])).files] == ["SALES.CSV"]


def test_named_files_are_found_as_a_scan_finds_them(tmp_path: Path) -> None:
    make(tmp_path, "b.csv", "a/z.csv", "d.txt", ".h.csv", ".h/a.csv", "e.csv.part", "other.csv")
    (tmp_path / "folder.csv").mkdir()
    asked = ["b.csv", "a/z.csv", "a/z.csv", "d.txt", ".h.csv", ".h/a.csv", "e.csv.part"]
    found = survey_names(tmp_path, WantedNames(["*.csv"]), [*asked, "gone.csv", "folder.csv"])
    assert found.files == tuple(
        stat for stat in survey(tmp_path, WantedNames(["*.csv"])).files if stat.name != "other.csv"
    )
    assert [stat.name for stat in found.files] == ["a/z.csv", "b.csv"]
    assert found.unreadable == ()


def test_ignored_names_are_passed_over_and_ignored_folders_not_looked_into(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "b_old.csv", "Archive/c.csv", "x/archive/d.csv", "x/e.csv", "x/y/f.csv")
    everything = ["Archive/c.csv", "a.csv", "b_old.csv", "x/archive/d.csv", "x/e.csv", "x/y/f.csv"]
    assert names(tmp_path, "*.csv") == everything
    assert names(tmp_path, "*.csv", ignore=("*_OLD.*", "archive")) == [
        "a.csv",
        "x/e.csv",
        "x/y/f.csv",
    ]
    assert names(tmp_path, "*.csv", ignore=("x/y", "x/arch*/*")) == [
        "Archive/c.csv",
        "a.csv",
        "b_old.csv",
        "x/e.csv",
    ]


def test_an_ignored_folder_need_not_be_readable(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "lost+found/b.csv")
    (tmp_path / "lost+found").chmod(0)
    try:
        found = survey(tmp_path, WantedNames(["*.csv"], ignore=["lost+found"]))
    finally:
        (tmp_path / "lost+found").chmod(0o755)
    assert [stat.name for stat in found.files] == ["a.csv"]
    assert found.unreadable == ()


def test_without_recursion_the_folder_alone_is_looked_at(tmp_path: Path) -> None:
    make(tmp_path, "a.csv", "b/c.csv", "b/d/e.csv")
    assert names(tmp_path, "*.csv", recursive=False) == ["a.csv"]


ODD_NAMES = [
    "with space.csv",
    "new\nline.csv",
    "tab\t.csv",
    "'quotes\".csv",
    "Umläut und 日本.csv",
    "-rf.csv",
    "$(touch x).csv",
    "[a].csv",
    "x" * 251 + ".csv",
    "a b/c\nd/e.csv",
    os.fsdecode(b"caf\xe9.csv"),
]


def test_odd_names_are_names(tmp_path: Path) -> None:
    make(tmp_path, *ODD_NAMES)
    assert names(tmp_path, "*.csv") == sorted(ODD_NAMES)


def test_what_no_pattern_wants_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "a.log.1", ".hidden", "old/b.log.1", "ignored/c.log.1")
    wanted = WantedNames(["*.log"], ignore=["ignored"])
    found = survey(tmp_path, wanted, others=True)
    assert [stat.name for stat in found.files] == ["a.log"]
    assert [stat.name for stat in found.others] == ["a.log.1", "old/b.log.1"]
    assert survey(tmp_path, wanted).others == ()
