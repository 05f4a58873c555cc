"""The shipped retail example with an empty inbox, and the figures its whole data must give."""

from __future__ import annotations

import subprocess
from decimal import Decimal
from pathlib import Path

from support.cli_project import CliProject, command, environment

ROWS = 541_909
REVENUE = Decimal("9747747.934")


def new_retail_project(folder: Path) -> CliProject:
    """A copy of the example at `folder`."""
    subprocess.run(
        command("init", "--example", "retail", str(folder)),
        check=True,
        capture_output=True,
        env=environment(),
    )
    for path in (folder / "inbox").glob("*.csv"):
        path.unlink()
    return CliProject(folder)


def source_files(project: CliProject) -> list[Path]:
    """What lies in the inbox."""
    return sorted((project.root / "inbox").rglob("*.csv"))
