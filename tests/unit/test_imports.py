"""Who may import whom: the contracts in pyproject.toml, and the vocabulary that imports nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

# What no command may load before it is called, as each costs a good part of a second.
HEAVY = {
    *("aiokafka", "dagster", "deltalake", "duckdb", "faststream", "httpx", "kio"),
    *("prometheus_client", "pyarrow", "pydantic", "sqlglot", "starlette", "uvicorn", "watchdog"),
}
LAZY_EXCEPTION = ("headrace", "headrace.cli.project")  # `headrace.Project`, imported when asked for


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("headrace")


def vocabulary(repository: Path) -> set[str]:
    """The modules of `core/`, under the names they are installed by."""
    names = {path.stem for path in (repository / "core").glob("*.py")}
    return {"headrace" if name == "__init__" else f"headrace.{name}" for name in names}


def test_imports_go_along_the_way_of_the_data(repository: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_the_vocabulary_imports_none_of_the_others(
    graph: grimp.ImportGraph, repository: Path
) -> None:
    words = vocabulary(repository)
    assert len(words) > 5
    assert words <= graph.modules
    imports = {
        (word, imported)
        for word in words
        for imported in graph.find_modules_directly_imported_by(word)
        if imported not in words
    }
    assert imports <= {LAZY_EXCEPTION}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headrace.cli.group import cli;"
        " cli.main(['--help'], prog_name='headrace', standalone_mode=False);"
        " print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Usage: headrace" in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert not loaded & HEAVY
