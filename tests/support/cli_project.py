"""A project as a user has it: a folder, and the command line run on it as a process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from headrace.cli.project import Project
from headrace.cli.result_format import WRITERS
from headrace.lakehouse.query import run_query

TIMEOUT_SECONDS = 280


def command(*arguments: str) -> list[str]:
    """`headrace ...` with this interpreter, whatever is on the path."""
    return [sys.executable, "-P", "-m", "headrace.cli.main", *arguments]


def environment(**overrides: str) -> dict[str, str]:
    """This process's environment without settings of a project, with overrides."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    # Where nothing may be written beside the sources, every start of a role would compile all it
    # imports: half of its CPU time.
    if clean.pop("PYTHONDONTWRITEBYTECODE", None):
        clean["PYTHONPYCACHEPREFIX"] = str(Path(sys.prefix) / ".bytecode")
    return {**clean, **overrides}


@contextmanager
def _settings(env: Mapping[str, str]) -> Iterator[None]:
    """The settings of a project that `env` has, in this process's environment for a moment."""
    settings = {k: v for k, v in env.items() if k.startswith("HEADRACE_")}
    with patch.dict(os.environ, settings):
        yield


class CliProject:
    """`headrace` on one folder."""

    def __init__(self, root: Path, env: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.env = environment(**(env or {}))

    def call(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command and insist on its exit code (None: any)."""
        done = subprocess.run(
            command(*arguments, "--project", str(self.root)),
            capture_output=True,
            text=True,
            env=self.env,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if expect is not None:
            assert done.returncode == expect, (
                f"{arguments} exited {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}"
            )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command and return at once; its output goes to a file beside the project."""
        log = self.root.with_name(self.root.name + ".out")
        with log.open("ab") as out:
            return subprocess.Popen(
                command(*arguments, "--project", str(self.root)),
                stdout=out,
                stderr=out,
                env=self.env,
                stdin=subprocess.DEVNULL,
            )

    def document(self, *arguments: str, expect: int | None = 0) -> Any:
        """The JSON document a command prints."""
        return json.loads(self.call(*arguments, "--json", expect=expect).stdout)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query, as `headrace query --format json` writes them, without its process."""
        with _settings(self.env):
            project = Project(self.root)
            out = io.BytesIO()
            with run_query(
                project.reading_catalog, sql, scratch=project.config.paths.scratch
            ) as result:
                WRITERS["json"](result, out)
        rows: list[dict[str, Any]] = json.loads(out.getvalue())
        return rows

    def value(self, sql: str) -> Any:
        """The one value of a query."""
        (row,) = self.query(sql)
        (value,) = row.values()
        return value
