"""What `headrace run` says at its end where nothing new has landed: never more than is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli.one_pass import PassReport
from headrace.cli.project import open_project
from headrace.cli.run_report import print_report
from headrace.lakehouse.refresh import RefreshReport
from headrace.producers.outcome import LeftFile, ProduceSummary

CONFIG = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "inbox"
stream = "sales"
"""


def said(root: Path, capsys: pytest.CaptureFixture[str], summary: ProduceSummary) -> str:
    (root / "headrace.toml").write_text(CONFIG)
    report = PassReport(summary.figures(), 0, RefreshReport((), (), (), (), 0.0), 1.0)
    print_report(open_project(root), report)
    return capsys.readouterr().out


def summary(*left: LeftFile, unreachable: tuple[str, ...] = ()) -> ProduceSummary:
    return ProduceSummary(0, 0, 0, 0, 0, 0, (), (), left, (), 1.0, unreachable)


def test_all_has_landed_only_where_all_was_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(tmp_path, capsys, summary()).startswith("nothing new: everything that is there")
    left = summary(LeftFile("sales", "b/", "cannot be read: Permission denied"))
    assert said(tmp_path, capsys, left).startswith("nothing new beside what was left")
    (notice,) = left.notices()
    assert notice == "sales: b/: left for the next run: cannot be read: Permission denied"
    away = summary(unreachable=("sources.sales.path: there is no folder",))
    assert said(tmp_path, capsys, away).startswith("nothing new from the sources that could be")
